//! Owns how a JSON object is read key by key: Go's matching of names without regard to case, types with an
//! error that names the key, and which keys nobody asked for. Knows no key itself. Pure.

use serde_json::{Map, Value};

use crate::model::network_config::ConfigError;

/// A JSON object that is read by taking keys out of it; what remains at the end is unknown.
#[derive(Debug)]
pub(super) struct Fields {
    path: &'static str,
    map: Map<String, Value>,
}

impl Fields {
    /// An object with no keys. `path` stands before each key in messages.
    pub(super) fn empty(path: &'static str) -> Self {
        Self {
            path,
            map: Map::new(),
        }
    }

    /// Reads `json`, which must be an object.
    pub(super) fn parse(path: &'static str, json: &[u8]) -> Result<Self, ConfigError> {
        let whole = |value: &str, expected: String| ConfigError {
            key: "the network config".to_owned(),
            value: value.to_owned(),
            expected,
        };
        match serde_json::from_slice(json) {
            Ok(Value::Object(map)) => Ok(Self { path, map }),
            Ok(_) => Err(whole(
                "not a JSON object",
                "expected {\"Network\": \"10.5.0.0/16\", ...}".to_owned(),
            )),
            Err(error) => Err(whole("not JSON", error.to_string())),
        }
    }

    /// A string, if the key is there and not null.
    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.refuse(key, &other, "expected a string")),
        }
    }

    /// A whole number, if the key is there and not null.
    pub(super) fn integer(&mut self, key: &str) -> Result<Option<i64>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.refuse(key, &value, "expected a whole number")),
            },
        }
    }

    /// true or false, if the key is there and not null.
    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(yes)) => Ok(Some(yes)),
            Some(other) => Err(self.refuse(key, &other, "expected true or false")),
        }
    }

    /// An object inside this one, if the key is there and not null.
    pub(super) fn object(&mut self, key: &'static str) -> Result<Option<Self>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self {
                path: "Backend.",
                map,
            })),
            Some(other) => Err(self.refuse(key, &other, "expected an object")),
        }
    }

    /// Takes a key out without looking at its value.
    pub(super) fn forget(&mut self, key: &str) {
        self.take(key);
    }

    /// A sentence for each key that nobody took.
    pub(super) fn unknown(&self) -> Vec<String> {
        self.map
            .keys()
            .map(|key| format!("unknown key {}{key} is ignored", self.path))
            .collect()
    }

    /// The error for a value that cannot be used.
    pub(super) fn refuse(&self, key: &str, value: &Value, expected: &str) -> ConfigError {
        ConfigError {
            key: format!("{}{key}", self.path),
            value: value.to_string(),
            expected: expected.to_owned(),
        }
    }

    /// The error for a key that must be there.
    pub(super) fn missing(&self, key: &str, expected: &str) -> ConfigError {
        ConfigError {
            key: format!("{}{key}", self.path),
            value: "missing".to_owned(),
            expected: expected.to_owned(),
        }
    }

    /// The key as spelled, else the same letters in another case, as Go's encoding/json matches.
    fn take(&mut self, key: &str) -> Option<Value> {
        let spelled = match self.map.contains_key(key) {
            true => key.to_owned(),
            false => self
                .map
                .keys()
                .find(|k| k.eq_ignore_ascii_case(key))?
                .clone(),
        };
        self.map.remove(&spelled).filter(|value| !value.is_null())
    }
}
