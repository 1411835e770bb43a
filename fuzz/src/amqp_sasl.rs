use std::sync::Arc;

use bytes::{Buf, Bytes};
use roadbed_amqp::codec::{ProtocolHeader, SaslCode};
use roadbed_amqp::{Admission, Event, Machine, MachineConfig, Sasl};
use roadbed_core::{Output, Protocol, Time};

/// The machine in either role, within SASL: whatever frames come, it does not panic, opens nothing before it is told so, and once closed it stays silent.
/// The first byte chooses the role, and what the server says.
pub fn amqp_sasl(data: &[u8]) {
    let Some((&choice, frames)) = data.split_first() else { return };
    let config = Arc::new(MachineConfig::default().scram_iterations_max(5000));
    let mut out = Output::new();
    let mut machine = match choice & 1 {
        0 => Machine::server(config, Time::ZERO),
        _ => {
            let sasl = Sasl::Password { user: "user".into(), password: "pencil".into() };
            Machine::client(config, Some(sasl), None, Time::ZERO, &mut out)
        }
    };
    let chunk = Bytes::from([&ProtocolHeader::Sasl.bytes()[..], frames].concat());
    let (mut at, mut verdicts, mut admitted) = (0, choice >> 1, choice & 1 == 1);
    while let Ok(Some(event)) = machine.next(Time::ZERO, &chunk, &mut at, &mut out) {
        match event {
            Event::Sasl { .. } | Event::SaslResponse(_) => {
                let said = match verdicts & 3 {
                    0 => machine.admit(Admission::Refused(SaslCode::Auth), &mut out),
                    1 => machine.admit(Admission::Admitted(None), &mut out),
                    _ => machine.challenge(Bytes::from_static(b"r=x"), &mut out),
                };
                said.expect("the client waits for an answer");
                admitted |= verdicts & 3 == 1;
                verdicts >>= 2;
            }
            Event::Open(_) => assert!(admitted, "nobody opens before SASL has ended well"),
            _ => {}
        }
    }
    out.advance(out.remaining());
    if machine.is_closed() {
        _ = machine.handle_timeout(Time::from_millis(1 << 40), &mut out);
        assert!(out.is_empty(), "a closed end is silent");
    }
}
