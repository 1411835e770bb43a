use bytestring::ByteString;
use roadbed_core::{Address, Filter, is_reserved};

/// The matcher and the checks of filters against the words of MQTT 5.0, section 4.7, taken one by one. The first line is the filter, the rest the address.
pub fn filter(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let (text, address) = text.split_once('\n').unwrap_or((text, ""));
    let filter = Filter::new(text);
    assert_eq!(filter.is_ok(), legal(text), "{text:?}: {filter:?}");
    shared(text);
    let Ok(filter) = filter else { return };
    assert_eq!(filter.as_str(), text);
    assert_eq!(filter.as_address().is_some(), !text.contains(['+', '#']));
    assert_eq!(filter.has_wildcard(), filter.as_address().is_none());
    let Ok(address) = Address::new(address) else { return };
    assert_eq!(filter.matches(&address), matches(text, address.as_str()), "{text:?} {address:?}");
    assert!(Filter::from(&address).matches(&address));
}

fn legal(text: &str) -> bool {
    let levels: Vec<_> = text.split('/').collect();
    let last = levels.len() - 1;
    let level = |(n, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => n == last,
        level => !level.contains(['+', '#', '\0']),
    };
    !text.is_empty()
        && text.len() <= 65_535
        && levels.len() <= Filter::LEVELS_MAX
        && levels.iter().enumerate().all(level)
}

fn matches(filter: &str, address: &str) -> bool {
    let (filter, levels): (Vec<_>, Vec<_>) = (filter.split('/').collect(), address.split('/').collect());
    if is_reserved(address) && matches!(filter[0], "+" | "#") {
        return false;
    }
    let open = filter.last() == Some(&"#");
    let fixed = &filter[..filter.len() - usize::from(open)];
    // "sport/#" also matches the singular "sport", since # includes the parent level.
    let depth = if open { levels.len() >= fixed.len() } else { levels.len() == fixed.len() };
    depth && fixed.iter().zip(&levels).all(|(wanted, level)| *wanted == "+" || wanted == level)
}

/// `$share/NAME/FILTER`: a name without `/`, `+` and `#`, and a filter of its own (section 4.8.2).
fn shared(text: &str) {
    let parsed = Filter::parse_shared(&ByteString::from(text));
    let mut parts = text.splitn(3, '/');
    let expected = match (parts.next(), parts.next(), parts.next()) {
        (Some("$share"), Some(group), Some(rest)) => {
            let fine = !group.is_empty() && !group.contains(['+', '#', '\0']) && legal(rest);
            fine.then_some((Some(group), rest))
        }
        (Some("$share"), ..) => None,
        _ => legal(text).then_some((None, text)),
    };
    let parsed = parsed.as_ref().ok().map(|(group, filter)| (group.as_deref(), filter.as_str()));
    assert_eq!(parsed, expected, "{text:?}");
}
