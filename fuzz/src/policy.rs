use roadbed_auth::{Allow, Policy, PolicyAuthorizer};
use roadbed_core::{Action, Address, Filter, Rights};

/// The matcher of policies. In four lines: a pattern, a principal, a filter, an address. A filter that may be followed brings nothing that may not be received, and
/// nobody's name gives more than its own level.
pub fn policy(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (pattern, principal, filter, address) = (line(), line(), line(), line());
    let allow = Allow { who: vec!["*".into()], receive: vec![pattern.into()], ..Allow::default() };
    let Ok(policy) = PolicyAuthorizer::new(&Policy { allow: vec![allow] }) else { return };
    let rights = policy.rights_of(principal);
    let address = Address::new(address).ok();
    let received = |address: &Address| rights.allows(Action::Receive(address));
    if let Ok(filter) = Filter::new(filter)
        && rights.allows(Action::Bind(&filter))
    {
        assert!(address.iter().all(|address| !filter.matches(address) || received(address)), "{text:?}");
        assert!(filter.as_address().is_none_or(|address| received(&address)), "{text:?}");
    }
    let Some(address) = address else { return };
    assert!(!rights.allows(Action::Send(&address)) && !rights.allows(Action::Manage(&address)));
    if received(&address) {
        assert!(!principal.is_empty());
        // The same with any one level where the name goes: the name has no reach of its own.
        let wide = pattern.split('/').map(|level| if level.contains("{id}") { "+" } else { level });
        let wide = wide.collect::<Vec<_>>().join("/");
        let levels = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let (wide, found) = (levels(&wide), levels(address.as_str()));
        let open = wide.last().is_some_and(|level| level == "#");
        let fixed = &wide[..wide.len() - usize::from(open)];
        assert!(found.len() == fixed.len() || (open && found.len() > fixed.len()), "{text:?}");
        assert!(fixed.iter().zip(&found).all(|(wanted, level)| wanted == "+" || wanted == level), "{text:?}");
    }
}
