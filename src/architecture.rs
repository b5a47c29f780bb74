//! Holds the arrows of `docs/architecture.md`: imports run down only, slices and adapters do not know each other, and
//! no two files import each other in a circle. Reads the sources as text; built for tests only.
#![expect(
    clippy::disallowed_methods,
    reason = "this test reads the sources of the crate"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Top-level modules from top to bottom. A module may import those below its row, and itself.
const LAYERS: [&[&str]; 9] = [
    &["main"],
    &["commands"],
    &["daemon"],
    &["adapters", "cli"],
    &["lease", "underlay", "overlay", "rules", "files", "host"],
    &["peers"],
    &["reconcile"],
    &["conditions"],
    &["model", "error"],
];

/// The modules that adapters may not be named in: all but these two.
const MAY_NAME_ADAPTERS: [&str; 2] = ["commands", "daemon"];

/// What `cli` may import: it parses and refuses, and knows no slice.
const CLI_MAY_IMPORT: [&str; 3] = ["cli", "model", "error"];

/// A module path, such as `overlay::plan`.
type Module = String;

/// The imports between the files of the crate, tests and fakes left out.
struct Imports {
    arrows: BTreeMap<Module, BTreeSet<Module>>,
}

impl Imports {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut sources = BTreeMap::new();
        read_folder(&root, &root, &mut sources);
        let modules: BTreeSet<Module> = sources.keys().cloned().collect();
        let arrows = sources.iter().map(|(module, source)| {
            let paths = crate_paths(without_tests(source));
            let targets = paths.iter().filter_map(|path| file_of(path, &modules));
            let others = targets.filter(|target| !is_inside(target, module));
            (module.clone(), others.collect())
        });
        Self {
            arrows: arrows.collect(),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.arrows
            .iter()
            .flat_map(|(from, all)| all.iter().map(|to| (from.as_str(), to.as_str())))
    }

    /// Files that can be reached from themselves, with the way.
    fn circles(&self) -> Vec<String> {
        let mut circles = Vec::new();
        for start in self.arrows.keys() {
            if let Some(way) = self.way_back(start) {
                circles.push(way.join(" -> "));
            }
        }
        circles
    }

    /// The shortest way from a module back to itself, breadth first.
    fn way_back(&self, start: &str) -> Option<Vec<String>> {
        let mut ways = vec![vec![start.to_owned()]];
        let mut seen = BTreeSet::new();
        while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in ways {
                for next in way
                    .last()
                    .and_then(|last| self.arrows.get(last))
                    .into_iter()
                    .flatten()
                {
                    let mut way = way.clone();
                    way.push(next.clone());
                    if next == start {
                        return Some(way);
                    }
                    if seen.insert(next.clone()) {
                        longer.push(way);
                    }
                }
            }
            ways = longer;
        }
        None
    }
}

/// Reads all sources of a folder, by the path of their module. Fakes and files of tests are left out, and so is this one.
fn read_folder(root: &Path, folder: &Path, sources: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("a folder can be listed").path();
        if path.is_dir() {
            read_folder(root, &path, sources);
            continue;
        }
        let module = path
            .strip_prefix(root)
            .expect("the path is below the root")
            .with_extension("")
            .to_string_lossy()
            .replace('/', "::");
        let name = module.rsplit("::").next().unwrap_or_default();
        let left_out = ["tests", "fake", "architecture", "paused_time", "lib"].contains(&name)
            || module.contains("::tests::");
        if !left_out {
            let source = fs::read_to_string(&path).expect("a source is text");
            sources.insert(module, source);
        }
    }
}

/// The source before its module of tests, which stands last.
fn without_tests(source: &str) -> &str {
    source.split("\n#[cfg(test)]\n").next().unwrap_or_default()
}

/// All paths that start with `crate::`, those in braces included.
fn crate_paths(source: &str) -> Vec<String> {
    let code: String = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    code.split("crate::").skip(1).flat_map(expand).collect()
}

/// The paths in the text behind `crate::`: `a::{b, c::d}; ...` has two, `a::b` and `a::c`.
fn expand(text: &str) -> Vec<String> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !is_path(c)).unwrap_or(text.len());
    let (prefix, rest) = text.split_at(end);
    let Some(inner) = rest.strip_prefix('{') else {
        return vec![prefix.to_owned()];
    };
    let inner = inner.split(';').next().unwrap_or_default();
    let names = inner.split([',', '{', '}']).map(str::trim);
    let names = names.filter(|name| !name.is_empty());
    names.map(|name| format!("{prefix}{name}")).collect()
}

/// The file that holds what a path names: the longest prefix of the path that is a module.
fn file_of(path: &str, modules: &BTreeSet<Module>) -> Option<Module> {
    let parts: Vec<&str> = path.split("::").collect();
    (1..=parts.len())
        .rev()
        .map(|length| parts[..length].join("::"))
        .find(|prefix| modules.contains(prefix))
}

/// Whether one module is the other, or inside of it. A module and the modules inside of it may share their types.
fn is_inside(one: &str, other: &str) -> bool {
    let (longer, shorter) = if one.len() > other.len() {
        (one, other)
    } else {
        (other, one)
    };
    longer == shorter || longer.starts_with(&format!("{shorter}::"))
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|names| names.contains(&top(module)))
        .unwrap_or_else(|| {
            panic!("{module} has no layer: add it to LAYERS and docs/architecture.md")
        })
}

fn adapter(module: &str) -> Option<&str> {
    module.strip_prefix("adapters::").map(top)
}

/// Why an import may not be, if so.
fn broken_rule(from: &str, to: &str) -> Option<&'static str> {
    let (above, below) = (top(from), top(to));
    if above == "cli" && !CLI_MAY_IMPORT.contains(&below) {
        return Some("cli parses and refuses; it knows no slice");
    }
    if let (Some(one), Some(other)) = (adapter(from), adapter(to)) {
        return (one != other).then_some("adapters do not know each other");
    }
    if above == below {
        return None;
    }
    if below == "adapters" && above != "main" && !MAY_NAME_ADAPTERS.contains(&above) {
        return Some("only daemon and commands name adapters");
    }
    (layer(from) >= layer(to)).then_some("arrows run down only")
}

#[test]
fn arrows_run_down_only() {
    let imports = Imports::read();
    let broken: Vec<String> = imports
        .pairs()
        .filter_map(|(from, to)| Some(format!("{from} -> {to}: {}", broken_rule(from, to)?)))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_file_imports_itself_through_others() {
    let circles = Imports::read().circles();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn every_rule_can_be_broken() {
    let cases = [
        ("overlay::plan", "rules::plan"),
        ("model::lease", "peers::table"),
        ("overlay::plan", "adapters::netlink"),
        ("adapters::netlink", "adapters::etcd"),
        ("cli", "overlay::desired"),
        ("files::plan", "cli"),
        ("conditions::table", "reconcile::driver"),
    ];
    for (from, to) in cases {
        assert!(broken_rule(from, to).is_some(), "{from} -> {to}");
    }
    let allowed = [
        ("main", "commands::status"),
        ("adapters::netlink", "overlay::port"),
        ("overlay::plan", "overlay::state"),
        ("daemon", "adapters::etcd"),
        ("peers::task", "reconcile::schedule"),
    ];
    for (from, to) in allowed {
        assert_eq!(broken_rule(from, to), None, "{from} -> {to}");
    }
}

#[test]
fn a_module_may_share_types_with_the_modules_inside_of_it() {
    assert!(is_inside("overlay::plan", "overlay::plan::op"));
    assert!(!is_inside("overlay::plan", "overlay::planner"));
}

#[test]
fn paths_in_braces_are_read() {
    let source =
        "use crate::model::addr::{MacAddr, Vni};\nfn f() { crate::error::chain(&e) }\n// crate::no";
    let expected = ["model::addr::MacAddr", "model::addr::Vni", "error::chain"];
    assert_eq!(crate_paths(source), expected);
}
