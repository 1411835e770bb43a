//! Bindings as maps.

use bytestring::ByteString;
use roadbed_core::{Binding, Filter, Granted, Qos, Result, RetainHandling, Unbind};
use serde_amqp::Value;

use super::{Map, invalid};

const RETAIN: [(&str, RetainHandling); 3] =
    [("always", RetainHandling::Always), ("if-new", RetainHandling::IfNew), ("never", RetainHandling::Never)];

pub(super) fn binding(map: &mut Map) -> Result<Binding> {
    let (share, filter) = filter(map)?;
    let qos = map.number::<u8>("qos")?.map_or(Ok(Qos::AtLeastOnce), qos)?;
    let retain = match map.text("retain")? {
        None => RetainHandling::IfNew,
        Some(name) => {
            let found = RETAIN.iter().find(|(known, _)| *known == name);
            found.ok_or_else(|| invalid("retain is always, if-new or never"))?.1
        }
    };
    Ok(Binding {
        share,
        no_local: map.flag("no_local")?.unwrap_or_default(),
        retain_handling: retain,
        retain_as_published: map.flag("retain_as_published")?.unwrap_or_default(),
        id: map.number("id")?,
        ..Binding::new(filter, qos)
    })
}

pub(super) fn unbind(map: &mut Map) -> Result<Unbind> {
    let (share, filter) = filter(map)?;
    Ok(Unbind { filter, share })
}

/// The map of a binding.
pub(crate) fn binding_map(binding: &Binding) -> Map {
    let mut map = filter_map(&binding.filter, binding.share.as_deref());
    let retain = RETAIN.iter().find(|(_, handling)| *handling == binding.retain_handling).map_or("", |(name, _)| name);
    map.set("qos", binding.qos_max.level()).set("retain", retain);
    map.set("no_local", binding.no_local).set("retain_as_published", binding.retain_as_published);
    if let Some(id) = binding.id {
        map.set("id", id);
    }
    map
}

/// The map that takes a binding away.
pub(crate) fn unbind_map(unbind: &Unbind) -> Map {
    filter_map(&unbind.filter, unbind.share.as_deref())
}

/// What a binding got, as a map. Of a queue that is not the link's own, nothing is known but that it follows the filter.
pub(crate) fn bound(granted: Option<&Granted>) -> Map {
    let mut map = Map::default();
    if let Some(granted) = granted {
        map.set("qos", granted.qos.level()).set("replaced", granted.replaced);
    }
    map
}

/// Whether there was such a binding, as a map.
pub(crate) fn unbound(found: bool) -> Map {
    let mut map = Map::default();
    map.set("found", found);
    map
}

fn filter(map: &mut Map) -> Result<(Option<ByteString>, Filter)> {
    let text = map.text("filter")?.ok_or_else(|| invalid("filter is missing"))?;
    let (share, filter) = Filter::parse_shared(&ByteString::from(text)).map_err(invalid)?;
    Ok((map.text("share")?.map(ByteString::from).or(share), filter))
}

fn filter_map(filter: &Filter, share: Option<&str>) -> Map {
    let mut map = Map::default();
    map.set("filter", filter.as_str());
    if let Some(share) = share {
        map.set("share", share);
    }
    map
}

fn qos(level: u8) -> Result<Qos> {
    Qos::from_level(level).ok_or_else(|| invalid("qos is 0, 1 or 2"))
}

/// The bindings of a description.
pub(super) fn bindings(value: Option<Value>) -> Result<alloc::vec::Vec<Binding>> {
    let Some(Value::List(maps)) = value else { return Ok(Default::default()) };
    maps.into_iter().map(|map| binding(&mut Map::read(map)?)).collect()
}
