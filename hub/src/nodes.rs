//! Nodes that the configuration declares, whatever they are: `[[queue]]` and `[[log]]`.

use std::collections::BTreeSet;
use std::sync::Arc;

use roadbed::broker::Settings;
use roadbed::{Address, Binding, Broker, Client, Filter, Manage, Open, Qos};

use crate::error::Failure;

/// A node that is there from the start.
pub(crate) trait Declared {
    /// The name of its tables.
    const TABLE: &'static str;

    fn name(&self) -> &str;

    fn filters(&self) -> &[String];

    /// Its address, if the name is one of such a node.
    fn address(&self) -> Option<Address>;

    /// What else is not legal.
    fn fault(&self) -> Option<String>;

    /// What makes it, or changes it.
    fn declaration(&self, address: Address, broker: &Settings) -> Manage;
}

/// A table that is not in order.
#[derive(Debug)]
pub(crate) struct Wrong {
    table: &'static str,
    /// The number of the table, from 0.
    number: usize,
    words: String,
}

impl Wrong {
    /// With the line of the table in `text`, which came from `name`.
    pub(crate) fn explain(&self, text: &str, name: &str) -> Failure {
        let is_head = |line: &str| {
            let head = line.trim_start().strip_prefix("[[").and_then(|rest| rest.split_once("]]"));
            head.is_some_and(|(key, _)| key.trim() == self.table)
        };
        let line = text.lines().zip(1..).filter(|(line, _)| is_head(line)).nth(self.number);
        let place = line.map_or_else(String::new, |(_, line)| format!(" line {line}"));
        Failure::usage(format!("{name}{place}: {}", self.words))
    }
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        Self::usage(wrong.words)
    }
}

/// Says what of the tables is wrong before anything is opened.
///
/// # Errors
/// A name, a filter or a bound is not legal, or a node is there twice.
pub(crate) fn check<T: Declared>(nodes: &[T]) -> Result<(), Wrong> {
    let mut names = BTreeSet::new();
    for (number, node) in nodes.iter().enumerate() {
        let wrong = |words| Wrong { table: T::TABLE, number, words };
        let named = format!("[[{}]] name = {:?}", T::TABLE, node.name());
        if node.address().is_none() {
            return Err(wrong(format!("{named} is no name of a {}", T::TABLE)));
        }
        if !names.insert(node.name()) {
            return Err(wrong(format!("{named} is there twice")));
        }
        let fault = node.fault().or_else(|| bindings(node).err());
        if let Some(fault) = fault {
            return Err(wrong(format!("[[{}]] {}: {fault}", T::TABLE, node.name())));
        }
    }
    Ok(())
}

/// Makes the nodes, or changes those that are there; what else they follow, they go on to follow.
///
/// # Errors
/// The broker refuses one.
pub(crate) async fn declare<T: Declared>(nodes: &[T], broker: &Broker) -> Result<(), Failure> {
    if nodes.is_empty() {
        return Ok(());
    }
    let client = Client::open(Arc::new(broker.clone()), Open::default()).await?;
    for node in nodes {
        let refused = |why: &dyn std::fmt::Display| Failure::usage(format!("[[{}]] {}: {why}", T::TABLE, node.name()));
        let address = node.address().ok_or_else(|| refused(&"this is no name"))?;
        let declaration = node.declaration(address.clone(), broker.settings());
        client.session().manage(declaration).await.map_err(|error| refused(&error))?;
        for binding in bindings(node).map_err(|error| refused(&error))? {
            client.session().manage(Manage::Bind(address.clone(), binding)).await.map_err(|error| refused(&error))?;
        }
    }
    Ok(client.close().await?)
}

fn bindings(node: &impl Declared) -> Result<Vec<Binding>, String> {
    let binding = |filter: &String| match Filter::new(filter.as_str()) {
        Ok(filter) => Ok(Binding::new(filter, Qos::ExactlyOnce)),
        Err(error) => Err(format!("the filter {filter:?}: {error}")),
    };
    node.filters().iter().map(binding).collect()
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn refused(text: &str) -> String {
        Config::parse(text, "roadbed.toml").expect_err("it is not in order").to_string()
    }

    #[test]
    fn what_is_wrong_with_a_node_is_said_with_its_table_and_line() {
        for (text, words) in [
            ("[[queue]]\nname = \"a/+\"", "roadbed.toml line 1: [[queue]] name = \"a/+\" is no name of a queue"),
            ("[[queue]]\nname = \"a\"\nfilters = [\"x/#/y\"]", "line 1: [[queue]] a: the filter \"x/#/y\": "),
            ("[[queue]]\nname = \"a\"\n\n[[ queue ]]\nname = \"a\"", "line 4: [[queue]] name = \"a\" is there twice"),
            ("[[log]]\nname = \"a/b\"", "line 1: [[log]] name = \"a/b\" is no name of a log"),
            ("[[log]]\n", "line 1: [[log]] name = \"\" is no name"),
            ("[[log]]\nname = \"a\"\n[[log]]\nname = \"b\"\npartitions = 0", "line 3: [[log]] b: partitions = 0: "),
            ("[[log]]\nname = \"a\"\npartitions = 1025", "line 1: [[log]] a: partitions = 1025: "),
            ("[[log]]\nname = \"a\"\nbytes_max = 0", "line 1: [[log]] a: bytes_max = 0: "),
            ("[[log]]\nname = \"a\"\nfilters = [\"queues/q\"]", "line 1: [[log]] a: the filter \"queues/q\": "),
            ("log = [{ name = \"\" }]", "roadbed.toml: [[log]] name"),
        ] {
            let said = refused(text);
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
