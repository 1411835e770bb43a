//! CloudEvents in MQTT 5's binary content mode (MQTT binding 1.0.2, section 3.1): the attributes are user properties under their own names.

use alloc::format;

use roadbed_core::cloudevents::{self, PREFIX, REQUIRED};
use roadbed_core::{Details, Properties, Value};

/// If the properties are those of an event, its attributes get the names that they have in every protocol. Names that are no attributes stay.
pub(super) fn read(details: &mut Details) {
    let structured = details.content_type.as_deref().is_some_and(|text| text.starts_with("application/cloudevents"));
    if structured || !is_event(&details.properties) {
        return;
    }
    let properties = core::mem::take(&mut details.properties);
    for (name, value) in properties.iter() {
        match cloudevents::is_attribute_name(name) {
            true => details.properties.push(format!("{PREFIX}{name}"), value.clone()),
            false => details.properties.push(name.clone(), value.clone()),
        }
    }
}

/// All required attributes are there, and nothing would change its name on the way out.
fn is_event(properties: &Properties) -> bool {
    let has = |required: &&str| properties.first(required).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    REQUIRED.iter().all(has) && !properties.iter().any(|(name, _)| name.starts_with(PREFIX))
}
