//! The filters that have wildcards.

use hashbrown::HashMap;
use roadbed_core::is_reserved;

use super::Target;

#[derive(Debug)]
pub(crate) struct Trie {
    nodes: Vec<Node>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Node {
    children: Option<Box<HashMap<Box<str>, u32>>>,
    /// The child `+`; 0: none, since the root is nobody's child.
    plus: u32,
    /// Filters that end here.
    here: Vec<Target>,
    /// Filters that end here with `#`.
    below: Vec<Target>,
}

impl Default for Trie {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new() }
    }
}

impl Trie {
    /// The destinations of `filter`; makes its nodes.
    pub(crate) fn list(&mut self, filter: &str) -> &mut Vec<Target> {
        let mut at = 0;
        for level in filter.split('/') {
            if level == "#" {
                return &mut self.nodes[at].below;
            }
            at = self.child(at, level) as usize;
        }
        &mut self.nodes[at].here
    }

    /// Calls `found` with the destinations of each filter that matches.
    pub(crate) fn find<'a>(&'a self, address: &str, found: &mut impl FnMut(&'a [Target])) {
        let root = &self.nodes[0];
        if is_reserved(address) {
            let (level, rest) = split(address);
            if let Some(child) = root.literal(level) {
                self.walk(child, rest, found);
            }
            return;
        }
        self.walk(0, Some(address), found);
    }

    fn walk<'a>(&'a self, at: u32, rest: Option<&str>, found: &mut impl FnMut(&'a [Target])) {
        let node = &self.nodes[at as usize];
        if !node.below.is_empty() {
            found(&node.below);
        }
        let Some(rest) = rest else {
            if !node.here.is_empty() {
                found(&node.here);
            }
            return;
        };
        let (level, rest) = split(rest);
        if node.plus != 0 {
            self.walk(node.plus, rest, found);
        }
        if let Some(child) = node.literal(level) {
            self.walk(child, rest, found);
        }
    }

    fn child(&mut self, at: usize, level: &str) -> u32 {
        if level == "+" {
            if self.nodes[at].plus == 0 {
                self.nodes[at].plus = self.fresh();
            }
            return self.nodes[at].plus;
        }
        if let Some(child) = self.nodes[at].literal(level) {
            return child;
        }
        let fresh = self.fresh();
        self.nodes[at].children.get_or_insert_default().insert(level.into(), fresh);
        fresh
    }

    fn fresh(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            (self.nodes.len() - 1) as u32
        })
    }

    /// Removes the nodes that only an empty `filter` needed.
    pub(crate) fn prune(&mut self, filter: &str) {
        let mut path = vec![(0, "")];
        let mut at = 0;
        for level in filter.split('/').filter(|level| *level != "#") {
            let child = if level == "+" {
                self.nodes[at as usize].plus
            } else {
                self.nodes[at as usize].literal(level).unwrap_or(0)
            };
            if child == 0 {
                break;
            }
            at = child;
            path.push((at, level));
        }
        while let (Some((child, level)), Some((parent, _))) = (path.pop(), path.last()) {
            if !self.nodes[child as usize].is_empty() {
                return;
            }
            self.nodes[child as usize] = Node::default();
            self.free.push(child);
            self.nodes[*parent as usize].cut(level);
        }
    }
}

impl Node {
    fn literal(&self, level: &str) -> Option<u32> {
        self.children.as_ref()?.get(level).copied()
    }

    fn is_empty(&self) -> bool {
        self.children.is_none() && self.plus == 0 && self.here.is_empty() && self.below.is_empty()
    }

    fn cut(&mut self, level: &str) {
        if level == "+" {
            self.plus = 0;
            return;
        }
        if let Some(children) = &mut self.children {
            children.remove(level);
            if children.is_empty() {
                self.children = None;
            }
        }
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(level, rest)| (level, Some(rest)))
}
