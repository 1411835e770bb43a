use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use roadbed_core::{Protocol, Time};
use roadbed_mqtt::codec::{Connect, Limits, Version};
use roadbed_mqtt::{Machine, MachineConfig};

mod command;
mod end;
mod watch;

use end::End;

/// As [`mqtt_client`], for the server's end.
pub fn mqtt_server(data: &[u8]) {
    let config = Arc::new(config());
    let ends = [(); 2].map(|()| End::new(true, |now, _| Machine::server(config.clone(), now)));
    // At the end of the data there is nothing more to do.
    let _ = run(&mut Unstructured::new(data), ends);
}

/// The machine under bytes, commands and time, twice: one end gets every byte by itself. Both say and do the same; what they say is MQTT within the peer's limits;
/// an end that is closed stays silent.
pub fn mqtt_client(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(version) = u.choose(&[Version::V31, Version::V311, Version::V5]).copied() else { return };
    let mut connect = Connect::new(version, "c");
    connect.keep_alive_secs = 10;
    connect.auth_method = u.ratio(1, 4).is_ok_and(|yes| yes && version.is_v5()).then(|| "M".into());
    let open = |now, out: &mut _| {
        Machine::client(Arc::new(config()), connect.clone(), Arc::default(), now, out)
            .expect("a CONNECT that can be written")
    };
    let _ = run(&mut u, [(); 2].map(|()| End::new(false, open)));
}

/// Low limits, so that they are met.
fn config() -> MachineConfig {
    let limits = Limits::default().packet_bytes_max(2000).filters_max(4).user_properties_max(3);
    MachineConfig::default().limits(limits).receive_maximum(3).topic_aliases_in_max(2).topic_aliases_out_max(2)
}

fn run(u: &mut Unstructured<'_>, [mut whole, mut split]: [End; 2]) -> Result<()> {
    let mut now = Time::from_millis(1 << 40);
    assert_eq!(whole.said(), split.said());
    while !u.is_empty() {
        match u.arbitrary::<u8>()? {
            op @ 0..96 => {
                let len = u.arbitrary::<u8>()?.into();
                let bytes = u.bytes(len)?;
                whole.hear(now, bytes, bytes.len().max(1));
                split.hear(now, bytes, 1 + usize::from(op % 2));
            }
            96..128 => {
                now = now + Duration::from_millis(u.arbitrary::<u16>()?.into());
                whole.wait(now);
                split.wait(now);
            }
            op => {
                let same = u.peek_bytes(u.len()).unwrap_or_default();
                whole.command(op, u, now)?;
                split.command(op, &mut Unstructured::new(same), now)?;
            }
        }
        assert_eq!(whole.events, split.events);
        assert_eq!(whole.error, split.error);
        assert_eq!(whole.machine.poll_timeout(), split.machine.poll_timeout());
        assert_eq!(whole.said(), split.said());
    }
    Ok(())
}
