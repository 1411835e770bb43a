//! The mappings of addresses are lossless, over all legal names.

use proptest::prelude::*;
use roadbed_core::{Address, AddressError};

/// Characters that some protocol or other treats specially.
const ODD: &[&str] = &[
    "", ".", "..", "...", "*", ">", " ", "  ", "%", "%2F", "%2f", "\\", "\\20", "?", ":", "@", "\"", "'", "&", "<",
    "$", "$SYS", "~", "a.b", "A", "é", "温度", "🚂", "\u{7f}", "\t", "\u{feff}", "ß", "queues", "logs", "=", ";", "|",
];

fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(ODD).prop_map(String::from),
        2 => "[a-zA-Z0-9._~-]{1,8}",
        1 => "[^\u{0}+#]{0,6}",
        1 => (prop::sample::select(ODD), prop::sample::select(ODD)).prop_map(|(a, b)| format!("{a}{b}")),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..6)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("empty", |name| !name.is_empty())
}

proptest! {
    #[test]
    fn every_name_without_nul_and_wildcards_is_legal(name in name()) {
        let address = Address::new(name.clone()).unwrap();
        prop_assert_eq!(address.as_str(), &name);
        prop_assert_eq!(address.levels().collect::<Vec<_>>().join("/"), name);
        prop_assert_eq!(address.detach(), address);
    }

    #[test]
    fn as_a_path(name in name()) {
        let address = Address::new(name).unwrap();
        let path = address.to_path();
        prop_assert_eq!(&Address::from_path(&path).unwrap(), &address);
        prop_assert!(path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%/".contains(&byte)), "{}", path);
        prop_assert!(path.split('/').all(|level| level != "." && level != ".."), "{}", path);
    }

    /// RFC 7622, section 3.3.1, forbids `"&'/:<>@` and spaces; preparation folds case, so no upper case either.
    #[test]
    fn as_the_local_part_of_a_jid(name in name()) {
        let address = Address::new(name).unwrap();
        let local = address.to_jid_local();
        prop_assert_eq!(&Address::from_jid_local(&local).unwrap(), &address);
        prop_assert!(local.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{}", local);
        prop_assert!(!local.contains(['"', '&', '\'', '/', ':', '<', '>', '@', ' ']), "{}", local);
    }

    #[test]
    fn two_names_never_share_a_form(one in name(), two in name()) {
        prop_assume!(one != two);
        let (one, two) = (Address::new(one).unwrap(), Address::new(two).unwrap());
        prop_assert_ne!(one.to_path(), two.to_path());
        prop_assert_ne!(one.to_jid_local(), two.to_jid_local());
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}", raw in "[%\\\\0-9a-fA-F/+#\u{0}é]{0,20}") {
        for text in [text, raw] {
            for address in [Address::from_path(&text), Address::from_jid_local(&text), text.parse()].into_iter().flatten() {
                prop_assert!(!address.as_str().is_empty() && !address.as_str().contains(['\0', '+', '#']));
            }
        }
    }
}

#[test]
fn what_is_not_legal() {
    let parse = |name: &str| name.parse::<Address>().unwrap_err();
    assert_eq!(parse(""), AddressError::Empty);
    assert_eq!(parse("a/+"), AddressError::Forbidden('+'));
    assert_eq!(parse("a#"), AddressError::Forbidden('#'));
    assert_eq!(parse("a\0"), AddressError::Forbidden('\0'));
    assert!("a".repeat(65_535).parse::<Address>().is_ok());
    assert_eq!(parse(&"a".repeat(65_536)), AddressError::TooLong);
    assert_eq!(Address::from_path("a%2"), Err(AddressError::BadEscape(1)));
    assert_eq!(Address::from_path("a%zz"), Err(AddressError::BadEscape(1)));
    assert_eq!(Address::from_path("%ff"), Err(AddressError::NotUtf8));
    assert_eq!(Address::from_path("%2B"), Err(AddressError::Forbidden('+')));
}

#[test]
fn what_browsers_would_remove_is_escaped() {
    let path = |name: &str| name.parse::<Address>().unwrap().to_path();
    assert_eq!(path("a/./b/../c"), "a/%2E/b/%2E%2E/c");
    assert_eq!(path("a//b/"), "a//b/");
    assert_eq!(path("a.b/.../* >"), "a.b/.../%2A%20%3E");
}

#[test]
fn reserved_prefixes_have_a_name() {
    let address = |name: &str| name.parse::<Address>().unwrap();
    assert_eq!(address("queues/orders/eu").queue(), Some("orders/eu"));
    assert_eq!(address("queues/").queue(), None);
    assert_eq!(address("queuesx").queue(), None);
    assert_eq!(address("$dead/orders").dead_letters(), Some("orders"));
    assert_eq!(address("logs/all").log(), Some("all"));
}
