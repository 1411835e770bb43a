//! Queues, their messages, and the locks on them.

use std::time::{Duration, SystemTime};

use crate::device::Device;
use crate::support::Hub;

#[test]
fn messages_keep_their_order_priorities_counts_and_times() {
    let hub = Hub::start();
    for (body, headers) in [
        ("first", &[][..]),
        ("urgent", &[("roadbed-priority", "9")]),
        ("second", &[]),
        ("short-lived", &[("roadbed-ttl-ms", "1000")]),
    ] {
        hub.post("queues/q", headers, body);
    }
    let later = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970") + Duration::from_secs(6);
    hub.post("queues/later", &[("roadbed-deliver-after-ms", &later.as_millis().to_string())], "x");
    let taken = hub.poll("queues/q");
    assert_eq!((taken.body.as_str(), hub.settle(&taken, "abandon").status), ("urgent", 204));

    let hub = hub.down(Duration::from_millis(1100));
    let taken = hub.poll("queues/q");
    assert_eq!((taken.body.as_str(), taken.header("roadbed-delivery-count")), ("urgent", Some("1")), "{taken:?}");
    assert_eq!(hub.settle(&taken, "").status, 204);
    assert_eq!(hub.take_all("queues/q"), ["first", "second"], "what had a short life is gone");
    let early = hub.poll("queues/later").status == 200;
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    assert!(!early || now() >= later, "its time has not come");
    std::thread::sleep(later.saturating_sub(now()));
    let due = hub.ask("GET", "/v1/messages/queues/later", &[("prefer", "wait=20")], "");
    assert!(early || due.body == "x", "{due:?}");
}

#[test]
fn dead_letters_keep_their_reasons() {
    let hub = Hub::start();
    hub.post("queues/q", &[], "job");
    let taken = hub.poll("queues/q");
    assert_eq!(hub.settle(&taken, "reject").status, 204);
    let hub = hub.killed();
    assert_eq!(hub.poll("queues/q").status, 204);
    let letter = hub.poll("$dead/q");
    assert_eq!(letter.body, "job");
    assert!(format!("{letter:?}").contains("refused"), "{letter:?}");
}

#[test]
fn a_lock_is_good_after_a_restart_and_settling_it_again_too() {
    let hub = Hub::start();
    hub.post("queues/q", &[], "one");
    hub.post("queues/q", &[], "two");
    let (one, two) = (hub.poll("queues/q"), hub.poll("queues/q"));
    assert_eq!(hub.settle(&two, "").status, 204);
    let hub = hub.killed();
    assert_eq!(hub.poll("queues/q").status, 204, "it is still locked");
    let again = hub.settle(&two, "");
    assert_eq!((again.status, again.header("roadbed-repeated")), (204, Some("true")), "{again:?}");
    assert_eq!(hub.settle(&one, "renew").status, 204);
    let first = hub.settle(&one, "");
    assert_eq!((first.status, first.header("roadbed-repeated")), (204, None), "{first:?}");
    let hub = hub.killed();
    let again = hub.settle(&one, "");
    assert_eq!((again.status, again.header("roadbed-repeated")), (204, Some("true")), "{again:?}");
    assert_eq!(hub.settle(&one, "release").status, 412, "it was settled otherwise");
    assert_eq!(hub.poll("queues/q").status, 204);
}

#[test]
fn a_lock_that_nobody_comes_back_for_ends_and_counts() {
    let hub = Hub::start();
    hub.post("queues/q", &[], "job");
    let taken = hub.ask("GET", "/v1/messages/queues/q?lock=1", &[], "");
    assert_eq!(taken.status, 200, "{taken:?}");
    let hub = hub.killed();
    let again = hub.ask("GET", "/v1/messages/queues/q", &[("prefer", "wait=20")], "");
    assert_eq!((again.body.as_str(), again.header("roadbed-delivery-count")), ("job", Some("1")), "{again:?}");
    assert_eq!(hub.settle(&taken, "").status, 412);
}

#[test]
fn what_was_posted_under_a_name_is_not_there_twice() {
    let hub = Hub::start();
    let name = [("idempotency-key", "\"order-7\"")];
    hub.post("queues/q", &name, "pallet");
    let hub = hub.killed();
    hub.post("queues/q", &name, "pallet");
    assert_eq!(hub.take_all("queues/q"), ["pallet"]);
}

#[test]
fn queues_and_subscriptions_keep_their_settings_and_filters() {
    let hub = Hub::with("[[queue]]\nname = \"configured\"\nfilters = [\"plant/+/order\"]\nmessages_max = 7\n");
    let declared = hub.ask("PUT", "/v1/queues/jobs", &[], "{\"queue\":{\"messages_max\":2,\"deliveries_max\":3}}");
    assert!((200..300).contains(&declared.status), "{declared:?}");
    let follows = hub.ask("PUT", "/v1/subscriptions/alarms", &[], "{\"filters\":[\"plant/+/alarm\"]}");
    assert!((200..300).contains(&follows.status), "{follows:?}");
    let described = |hub: &Hub, path: &str| hub.ask("GET", path, &[], "").body;
    let paths = ["/v1/queues/jobs", "/v1/subscriptions/alarms", "/v1/queues/configured"];
    let before = paths.map(|path| described(&hub, path));
    assert!(before[2].contains("plant/+/order") && before[2].contains('7'), "{}", before[2]);

    let hub = hub.killed();
    assert_eq!(paths.map(|path| described(&hub, path)), before);
    Device::kept(&hub.mqtt, "device", 0).published("plant/7/alarm", "hot", 2, 1);
    hub.post("plant/7/order", &[], "bolts");
    let hub = hub.killed();
    assert_eq!(hub.take_all("queues/alarms"), ["hot"]);
    assert_eq!(hub.take_all("queues/configured"), ["bolts"]);
    assert_eq!(hub.ask("DELETE", "/v1/subscriptions/alarms", &[], "").status / 100, 2);
    let hub = hub.killed();
    assert_eq!(hub.ask("GET", "/v1/subscriptions/alarms", &[], "").status, 404);
}

#[test]
fn a_queue_keeps_what_its_policy_says() {
    let config = "[[queue]]\nname = \"kept\"\n[[queue]]\nname = \"asked\"\nstore = \"on-request\"\n\
                  [[queue]]\nname = \"never\"\nstore = \"never\"\n";
    let hub = Hub::with(config);
    for queue in ["kept", "asked", "never"] {
        hub.post(&format!("queues/{queue}"), &[], "plain");
    }
    hub.post("queues/asked", &[("roadbed-durability", "stored")], "stored");
    let refused = hub.ask("POST", "/v1/messages/queues/never", &[("roadbed-durability", "stored")], "stored");
    assert_eq!(refused.status, 409, "{refused:?}");
    let hub = hub.killed();
    assert_eq!(hub.take_all("queues/kept"), ["plain"]);
    assert_eq!(hub.take_all("queues/asked"), ["stored"]);
    assert!(hub.take_all("queues/never").is_empty());
}
