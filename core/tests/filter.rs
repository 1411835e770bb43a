//! Filters against the plainest matcher that follows the words of \[MQTT-4.7\].

use bytestring::ByteString;
use proptest::prelude::*;
use roadbed_core::{Address, Filter, FilterError};

const LEVELS: &[&str] = &["", "a", "b", "é", "$x", "$", "queues", "logs", "$dead", " ", "*"];

fn naive(filter: &[&str], address: &[&str]) -> bool {
    match (filter, address) {
        (["#"], _) => true,
        ([], []) => true,
        (["+", filter @ ..], [_, address @ ..]) => naive(filter, address),
        ([wanted, filter @ ..], [level, address @ ..]) => wanted == level && naive(filter, address),
        _ => false,
    }
}

/// MQTT hides `$` names from leading wildcards; so are the reserved prefixes, which have something behind the slash.
fn hidden(address: &[&str]) -> bool {
    address[0].starts_with('$') || (matches!(address[0], "queues" | "logs") && address.len() > 1)
}

fn address() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(LEVELS), 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("empty", |name| !name.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![2 => prop::sample::select(LEVELS), 1 => Just("+")];
    (prop::collection::vec(level, 0..6), any::<bool>()).prop_filter_map("empty", |(mut levels, open)| {
        if open {
            levels.push("#");
        }
        Some(levels.join("/")).filter(|text| !text.is_empty())
    })
}

/// A filter that often matches `address`.
fn near(address: &str, choices: &[u8], cut: usize) -> String {
    let levels: Vec<_> = address.split('/').collect();
    let mut out: Vec<&str> = Vec::new();
    for (n, level) in levels.iter().enumerate() {
        match choices[n % choices.len()] % 4 {
            0 => out.push("+"),
            1 if n >= cut => {
                out.push("#");
                break;
            }
            _ => out.push(level),
        }
    }
    out.join("/")
}

fn check(filter: &str, address: &str) -> Result<(), TestCaseError> {
    let (filters, levels): (Vec<_>, Vec<_>) = (filter.split('/').collect(), address.split('/').collect());
    let wild = matches!(filters[0], "+" | "#");
    let expected = naive(&filters, &levels) && !(wild && hidden(&levels));
    let found = filter.parse::<Filter>().unwrap().matches(&address.parse::<Address>().unwrap());
    prop_assert_eq!(found, expected, "{} on {}", filter, address);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn matches_as_the_naive_one(filter in filter(), address in address()) {
        check(&filter, &address)?;
    }

    #[test]
    fn matches_as_the_naive_one_nearby(address in address(), choices in prop::collection::vec(any::<u8>(), 1..6), cut in 0..4usize) {
        let filter = near(&address, &choices, cut);
        prop_assume!(!filter.is_empty());
        check(&filter, &address)?;
    }

    #[test]
    fn an_address_matches_itself_alone(one in address(), two in address()) {
        let (one, two) = (one.parse::<Address>().unwrap(), two.parse::<Address>().unwrap());
        let filter = Filter::from(&one);
        prop_assert_eq!(filter.as_address(), Some(one.clone()));
        prop_assert!(filter.matches(&one));
        prop_assert_eq!(filter.matches(&two), one == two);
    }

    #[test]
    fn what_is_covered_is_matched(wide in filter(), address in address(), choices in prop::collection::vec(any::<u8>(), 1..6), cut in 0..4usize) {
        let narrow = near(&address, &choices, cut);
        prop_assume!(!narrow.is_empty());
        let (wide, narrow) = (wide.parse::<Filter>().unwrap(), narrow.parse::<Filter>().unwrap());
        let address = address.parse::<Address>().unwrap();
        prop_assert!(narrow.covers(&narrow));
        prop_assert!(!(wide.covers(&narrow) && narrow.matches(&address)) || wide.matches(&address), "{} {} {}", wide, narrow, address);
        // Of a filter without wildcards, covering is matching.
        prop_assert_eq!(wide.covers(&Filter::from(&address)), wide.matches(&address));
    }

    #[test]
    fn no_text_panics(text in "[ab/+#$\u{0}é]{0,12}") {
        let shared = Filter::parse_shared(&ByteString::from(text.as_str()));
        if let Ok(filter) = text.parse::<Filter>() {
            prop_assert!(!filter.levels().any(|level| level.len() > 1 && level.contains(['+', '#'])));
            prop_assert!(shared.is_ok_and(|(group, found)| group.is_none() && found == filter));
        }
    }
}

#[test]
fn what_is_not_legal() {
    let parse = |text: &str| text.parse::<Filter>().unwrap_err();
    assert_eq!(parse(""), FilterError::Empty);
    assert_eq!(parse("a\0"), FilterError::Nul);
    for text in ["a#", "#/a", "a/#/b", "+a", "a+/b", "##", "++"] {
        assert_eq!(parse(text), FilterError::MisplacedWildcard, "{text}");
    }
    assert_eq!(parse(&"a".repeat(65_536)), FilterError::TooLong);
    assert!(vec!["+"; Filter::LEVELS_MAX].join("/").parse::<Filter>().is_ok());
    assert_eq!(parse(&vec!["+"; Filter::LEVELS_MAX + 1].join("/")), FilterError::TooDeep);
}

#[test]
fn shared_filters() {
    let parse = |text: &str| Filter::parse_shared(&text.into());
    let (group, filter) = parse("$share/g/a/+/#").unwrap();
    assert_eq!((group.as_deref(), filter.as_str()), (Some("g"), "a/+/#"));
    assert_eq!(parse("$share/g//a").unwrap().1.as_str(), "/a");
    for text in ["$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a"] {
        assert_eq!(parse(text).unwrap_err(), FilterError::MalformedShare, "{text}");
    }
    assert_eq!(parse("$shared/g/a").unwrap().0, None);
}
