use std::time::Duration;

use roadbed_auth::{SasSettings, SasToken, SasVerifier, Secret, sas as tokens};
use roadbed_core::Time;

const KEY: &str = "c2l4dGVlbiBieXRlcyBvciBtb3Jl";

/// Tokens: nothing that is not signed by the key is let in, what is let in is who its resource says, and what we sign, we take. The first line is a token, the rest
/// the name of a device.
pub fn sas(data: &[u8]) {
    let (token, device) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let settings = SasSettings {
        resource: "hub.example/devices/{id}".into(),
        identity: "device {id}".into(),
        keys: vec![Secret::new(KEY)],
        ..SasSettings::default()
    };
    let verifier = SasVerifier::new(&[settings], Duration::ZERO).expect("settings of our own");
    // Nobody has signed it: whoever comes by such a token has found a key.
    assert!(verifier.verify(token, Time::ZERO).is_err());
    if let Ok(parsed) = SasToken::parse(token) {
        let _ = (parsed.resource(), parsed.expires_at(), parsed.key_name(), format!("{parsed:?}"));
    }
    let Ok(device) = core::str::from_utf8(device.get(1..).unwrap_or_default()) else { return };
    let plain = !device.is_empty()
        && device.len() < 1000
        && !device.contains('/')
        && !matches!(device, "." | "..")
        && !device.chars().any(char::is_control)
        && !device.contains("://");
    let signed = tokens::sign(KEY.as_bytes(), "", &format!("hub.example/devices/{device}"), 1000);
    match verifier.verify(signed.as_bytes(), Time::from_millis(999_999)) {
        // A resource may end with a slash, which no name has.
        Ok(identity) => {
            assert_eq!(&*identity.principal, format!("device {}", device.strip_suffix('/').unwrap_or(device)));
        }
        Err(error) => assert!(!plain, "{device:?}: {error}"),
    }
    assert!(verifier.verify(signed.as_bytes(), Time::from_millis(1_000_000)).is_err(), "it has ended");
    // One character changed is another token.
    let mut changed = signed.into_bytes();
    let at = token.len() % changed.len();
    changed[at] ^= 1;
    let found = verifier.verify(&changed, Time::ZERO);
    let same = at < "SharedAccessSignature ".len();
    assert!(same || found.is_err(), "{}", String::from_utf8_lossy(&changed));
}
