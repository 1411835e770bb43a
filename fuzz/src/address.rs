use roadbed_core::{Address, AddressError};

/// A legal name survives every mapping and back; a form that is read is written as one canonical form, which reads as the same name.
pub fn address(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let legal = !text.is_empty() && text.len() <= Address::LEN_MAX && !text.contains(['\0', '+', '#']);
    match Address::new(text) {
        Ok(name) => {
            assert!(legal);
            assert_eq!(name.as_str(), text);
            round_trips(&name);
            kinds(&name);
        }
        Err(error) => {
            assert!(!legal);
            assert_eq!(error == AddressError::Empty, text.is_empty());
        }
    }
    for read in [Address::from_path, Address::from_jid_local] {
        if let Ok(name) = read(text) {
            round_trips(&name);
        }
    }
}

fn round_trips(name: &Address) {
    let path = name.to_path();
    assert_eq!(Address::from_path(&path).as_ref(), Ok(name));
    assert!(path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%/".contains(&byte)), "{path}");
    assert!(path.split('/').all(|level| level != "." && level != ".."), "{path}");
    assert_eq!(path.matches('/').count(), name.as_str().matches('/').count());

    let local = name.to_jid_local();
    assert_eq!(Address::from_jid_local(&local).as_ref(), Ok(name));
    // What RFC 7622, section 3.3.1, forbids, and what case mapping would change.
    assert!(!local.contains(['"', '&', '\'', '/', ':', '<', '>', '@', ' ']), "{local}");
    assert!(local.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{local}");

    assert_eq!(&name.detach(), name);
}

/// A name has at most one of the reserved prefixes.
fn kinds(name: &Address) {
    let text = name.as_str();
    let kinds = [("queues/", name.queue()), ("$dead/", name.dead_letters()), ("logs/", name.log())];
    for (prefix, rest) in kinds {
        assert_eq!(rest, text.strip_prefix(prefix).filter(|rest| !rest.is_empty()), "{text}");
    }
    assert!(kinds.iter().filter(|(_, rest)| rest.is_some()).count() <= 1);
}
