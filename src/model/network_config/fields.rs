//! Reads a JSON object key by key, as Go does: names match without regard to case, null counts as
//! absent, and a wrong type is an error that names the key. Knows the name of no key. Pure.

use serde_json::{Map, Value};

use crate::model::network_config::error::ConfigError;

/// A JSON object. Reading a key takes it out, so that the keys that are left in the end are
/// unknown.
#[derive(Debug)]
pub(super) struct Fields {
    /// What errors put before the name of a key, such as `Backend.`.
    path: String,
    map: Map<String, Value>,
}

/// The bytes are not a JSON object.
#[derive(Debug)]
pub(super) enum NotAnObject {
    /// They are not JSON, for this reason.
    NotJson(String),
    /// They are an array, a string or another JSON value.
    OtherJson,
}

impl Fields {
    /// Reads an object.
    pub(super) fn parse(json: &[u8]) -> Result<Self, NotAnObject> {
        let path = String::new();
        // Editors on Windows put a byte order mark in front.
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        match serde_json::from_slice(json) {
            Ok(Value::Object(map)) => Ok(Self { path, map }),
            Ok(_) => Err(NotAnObject::OtherJson),
            Err(error) => Err(NotAnObject::NotJson(error.to_string())),
        }
    }

    /// Reads a string, if the key is present.
    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.refuse(key, &other, "expected a string")),
        }
    }

    /// Reads a whole number, if the key is present.
    pub(super) fn integer(&mut self, key: &str) -> Result<Option<i64>, ConfigError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        value
            .as_i64()
            .map(Some)
            .ok_or_else(|| self.refuse(key, &value, "expected a whole number"))
    }

    /// Reads true or false, if the key is present.
    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(yes)) => Ok(Some(yes)),
            Some(other) => Err(self.refuse(key, &other, "expected true or false")),
        }
    }

    /// Reads the object inside this one. If the key is absent, the object has no keys.
    pub(super) fn object(&mut self, key: &str) -> Result<Self, ConfigError> {
        let path = format!("{}{key}.", self.path);
        match self.take(key) {
            None => Ok(Self {
                path,
                map: Map::new(),
            }),
            Some(Value::Object(map)) => Ok(Self { path, map }),
            Some(other) => Err(self.refuse(key, &other, "expected an object")),
        }
    }

    /// Takes a key out, whatever its value is.
    pub(super) fn ignore(&mut self, key: &str) {
        self.take(key);
    }

    /// Returns one sentence for each key that was not read.
    pub(super) fn unknown(&self) -> Vec<String> {
        self.map
            .keys()
            .map(|key| format!("unknown key {}{key} is ignored", self.path))
            .collect()
    }

    /// Returns the error for a value that cannot be used.
    pub(super) fn refuse(&self, key: &str, value: &Value, expected: &str) -> ConfigError {
        ConfigError {
            key: format!("{}{key}", self.path),
            value: value.to_string(),
            expected: expected.to_owned(),
        }
    }

    /// Returns the error for a required key that is absent.
    pub(super) fn missing(&self, key: &str, expected: &str) -> ConfigError {
        ConfigError {
            key: format!("{}{key}", self.path),
            value: "missing".to_owned(),
            expected: expected.to_owned(),
        }
    }

    /// Takes the value of the key in this exact spelling, or else in another case, as Go's
    /// `encoding/json` does.
    fn take(&mut self, key: &str) -> Option<Value> {
        let spelling = if self.map.contains_key(key) {
            key.to_owned()
        } else {
            self.map
                .keys()
                .find(|other| other.eq_ignore_ascii_case(key))?
                .clone()
        };
        self.map.remove(&spelling).filter(|value| !value.is_null())
    }
}
