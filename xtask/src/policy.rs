//! Licences, bans and sources of everything the workspace is built from on this platform, by the rules in `deny.toml`. That file is
//! in the format of cargo-deny, whose `cargo deny check licenses bans sources` covers every platform; this check reads the part of it
//! that we use, since building cargo-deny costs a new machine three minutes of CPU for a tenth of a second of work.

use std::collections::BTreeMap;

use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

use crate::Result;
use crate::workspace::{self, Package};

/// How the source of a package from a registry begins: none may come from a repository or elsewhere.
const REGISTRY: &str = "registry+";

#[derive(Debug, Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// One crate that may have licences beyond the others'.
#[derive(Debug, Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// Checks every package, and prints how many there are of each licence.
///
/// # Errors
/// All that offends, one a line.
pub(crate) fn check() -> Result {
    println!("\n$ cargo xtask test --only deny    # the rules of deny.toml");
    let rules: Rules = toml::from_str(&std::fs::read_to_string("deny.toml")?)?;
    let packages = workspace::packages()?;
    let faults: Vec<_> = packages.iter().flat_map(|p| rules.faults(p)).collect();
    if !faults.is_empty() {
        return Err(format!("deny.toml does not allow:\n  {}", faults.join("\n  ")).into());
    }
    let mut licences = BTreeMap::<&str, usize>::new();
    for package in &packages {
        *licences.entry(package.license.as_deref().unwrap_or("none")).or_default() += 1;
    }
    licences.iter().for_each(|(licence, n)| println!("{n:>5}  {licence}"));
    Ok(())
}

impl Rules {
    /// What this package offends against.
    fn faults(&self, package: &Package) -> Vec<String> {
        let Package { name, version, .. } = package;
        let mut faults = Vec::new();
        if let Err(why) = self.licensed(package) {
            faults.push(format!("licence: {name} {version}: {why}"));
        }
        if package.source.as_ref().is_some_and(|source| !source.starts_with(REGISTRY)) {
            faults.push(format!("source: {name} {version} comes from {:?}", package.source));
        }
        if let Some(ban) = self.bans.deny.iter().find(|ban| ban.name == *name) {
            faults.push(format!("banned: {name} {version}: {}", ban.reason));
        }
        let own = package.source.is_none();
        for any in package.dependencies.iter().filter(|d| own && d.req == "*" && d.path.is_none()) {
            faults.push(format!("wildcard: {name} takes any version of {}", any.name));
        }
        faults
    }

    fn licensed(&self, package: &Package) -> Result {
        let text = package.license.as_deref().ok_or("states none")?;
        let expression = Expression::parse_mode(text, ParseMode::LAX).map_err(|e| format!("`{text}`: {}", e.reason))?;
        if expression.evaluate(|wanted| self.allows(&package.name, wanted)) {
            return Ok(());
        }
        Err(format!("`{text}`").into())
    }

    fn allows(&self, package: &str, wanted: &LicenseReq) -> bool {
        let excepted = self.licenses.exceptions.iter().filter(|e| e.name == package).flat_map(|e| &e.allow);
        let wanted = wanted.to_string();
        self.licenses.allow.iter().chain(excepted).any(|allowed| *allowed == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(package: &str) -> Vec<String> {
        let rules: Rules = toml::from_str(
            "[licenses]\nallow = ['MIT', 'Apache-2.0']\nexceptions = [{ crate = 'b', allow = ['NCSA'] }]\n\
             [bans]\ndeny = [{ crate = 'bad', reason = 'no' }]",
        )
        .unwrap();
        let package = format!(
            "{{ 'version': '1', 'features': {{}}, 'targets': [], 'dependencies': [{{ 'name': 'x', 'req': '*', 'path': null }}], {package} }}"
        );
        rules.faults(&serde_json::from_str(&package.replace('\'', "\"")).unwrap())
    }

    #[test]
    fn one_allowed_alternative_is_enough_and_every_part_of_a_conjunction_is_needed() {
        let with = |name, licence| faults(&format!("'name': '{name}', 'license': '{licence}', 'source': '{REGISTRY}'"));
        assert!(with("a", "MIT/GPL-3.0").is_empty());
        assert!(with("b", "(MIT OR Apache-2.0) AND NCSA").is_empty());
        assert_eq!(with("a", "(MIT OR Apache-2.0) AND NCSA").len(), 1);
        assert_eq!(with("a", "GPL-3.0-or-later").len(), 1);
    }

    #[test]
    fn sources_bans_wildcards_and_missing_licences_are_named() {
        let own = faults("'name': 'bad', 'license': null, 'source': null");
        assert_eq!(own, ["licence: bad 1: states none", "banned: bad 1: no", "wildcard: bad takes any version of x"]);
        let git = faults("'name': 'c', 'license': 'MIT', 'source': 'git+https://example.org/c'");
        assert!(git.len() == 1 && git[0].starts_with("source: c 1"), "{git:?}");
    }
}
