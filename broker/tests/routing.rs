//! The router against the definition: a message reaches exactly those whose filters match.

mod support;

use proptest::prelude::*;
use roadbed_core::*;
use support::*;

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof!["a".prop_map(|_| "a"), Just("b"), Just(""), Just("$sys"), Just("queues")]
}

fn address() -> impl Strategy<Value = Address> {
    let legal = |name: &String| Address::new(name.clone()).is_ok() && !name.starts_with("queues/");
    let levels = prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/"));
    levels.prop_filter("an address", legal).prop_map(|name| Address::new(name).unwrap())
}

fn filter() -> impl Strategy<Value = Filter> {
    let level = prop_oneof![4 => level().boxed(), 2 => Just("+").boxed(), 1 => Just("#").boxed()];
    let levels = prop::collection::vec(level, 1..5).prop_map(|levels| levels.join("/"));
    let legal = |text: &String| Filter::new(text.clone()).is_ok() && !text.starts_with("queues/");
    levels.prop_filter("a filter", legal).prop_map(|text| Filter::new(text).unwrap())
}

proptest! {
    #[test]
    fn reaches_who_follows(
        followed in prop::collection::vec(prop::collection::vec(filter(), 0..4), 1..5),
        dropped in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        addresses in prop::collection::vec(address(), 1..6),
    ) {
        let bench = Bench::new();
        let mut clients: Vec<(Client, Vec<Filter>)> = Vec::new();
        for filters in followed {
            let mut client = bench.anonymous();
            client.listen();
            for filter in &filters {
                client.bind(Binding::new(filter.clone(), ONE));
            }
            clients.push((client, filters));
        }
        for index in dropped {
            let at = index.index(clients.len());
            let (client, filters) = &mut clients[at];
            if let Some(gone) = filters.pop() {
                filters.retain(|other| *other != gone);
                let unbind = Unbind { filter: gone, share: None };
                let found = futures::executor::block_on(client.consumer.as_mut().unwrap().unbind(vec![unbind]));
                prop_assert!(matches!(&found.unwrap()[..], [Ok(true)]));
            }
        }
        let mut sender = bench.anonymous();
        for address in addresses {
            let confirm = sender.send(Message::new(address.clone(), "x"), ONE).unwrap();
            let mut routed = false;
            for (client, filters) in &mut clients {
                let wanted = filters.iter().any(|filter| filter.matches(&address));
                routed |= wanted;
                let got = client.take();
                prop_assert_eq!(got.len(), usize::from(wanted), "{} of {:?}", &address, filters);
                got.iter().for_each(|delivery| client.accept(delivery));
            }
            prop_assert_eq!(confirm.why, if routed { None } else { Some(Condition::NoRoute) });
        }
        drop(clients);
        prop_assert_eq!(bench.counters().bindings, 0);
    }
}

/// Each node of the trie is visited once at most, so filters that overlap in every way cost what they have in levels.
#[test]
fn deep_filters_against_deep_topics() {
    let bench = Bench::new();
    let mut client = bench.anonymous();
    for mask in 0..256_u32 {
        let levels: Vec<&str> = (0..8).map(|bit| if mask >> bit & 1 == 1 { "+" } else { "a" }).collect();
        client.follow(&levels.join("/"), ZERO);
        client.follow(&format!("{}/#", levels.join("/")), ZERO);
    }
    let deepest = vec!["+"; 127].join("/") + "/#";
    client.follow(&deepest, ZERO);
    let mut sender = bench.anonymous();
    let start = std::time::Instant::now();
    let deep = Address::new("a/".repeat(32_767)).unwrap();
    for _ in 0..100 {
        sender.send(Message::new(deep.clone(), "x"), ONE);
        sender.send(text("a/a/a/a/a/a/a/a", "y"), ONE);
    }
    assert_eq!(client.take().len(), 200);
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
}
