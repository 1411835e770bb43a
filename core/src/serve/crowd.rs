use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Who is connected, over all listeners that share it: how many in all, and how many from each address.
#[derive(Debug)]
pub struct Crowd {
    connections_max: usize,
    per_address_max: usize,
    here: Mutex<Here>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Here {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

impl Crowd {
    /// At most `connections_max` at a time, and `per_address_max` from one address; 0 is no bound. An IPv6 address counts by its first 64 bits; addresses of this
    /// machine have no bound of their own.
    pub fn new(connections_max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self { connections_max, per_address_max, here: Mutex::default(), refused: AtomicU64::new(0) })
    }

    /// A place for a connection from `address`, free again when dropped; `None` if there is none.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<CrowdPlace> {
        let address = network(address);
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        let own = here.of.get(&address).copied().unwrap_or_default();
        let full = self.connections_max > 0 && here.all >= self.connections_max;
        let crowded = self.per_address_max > 0 && own >= self.per_address_max && !address.is_loopback();
        if full || crowded {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        here.all += 1;
        here.of.insert(address, own + 1);
        Some(CrowdPlace { crowd: Arc::clone(self), address })
    }

    /// How many are here, and how many were refused since the start.
    pub fn counts(&self) -> (usize, u64) {
        let all = self.here.lock().unwrap_or_else(PoisonError::into_inner).all;
        (all, self.refused.load(Ordering::Relaxed))
    }
}

/// A place in a [`Crowd`], free again when dropped.
#[derive(Debug)]
pub struct CrowdPlace {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Drop for CrowdPlace {
    fn drop(&mut self) {
        let mut here = self.crowd.here.lock().unwrap_or_else(PoisonError::into_inner);
        here.all -= 1;
        let left = here.of.get_mut(&self.address).map(|own| {
            *own -= 1;
            *own
        });
        if left == Some(0) {
            here.of.remove(&self.address);
        }
    }
}

/// Whoever has one address of IPv6 has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_takes_no_more_than_its_places_and_gives_them_back() {
        let crowd = Crowd::new(5, 2);
        let one = crowd.enter(address("192.0.2.1")).unwrap();
        let _two = crowd.enter(address("192.0.2.1")).unwrap();
        assert!(crowd.enter(address("192.0.2.1")).is_none());
        let net: Vec<_> = ["2001:db8::1", "2001:db8::2"].iter().filter_map(|text| crowd.enter(address(text))).collect();
        assert!(net.len() == 2 && crowd.enter(address("2001:db8::3")).is_none());
        let _fifth = crowd.enter(address("127.0.0.1")).unwrap();
        assert!(crowd.enter(address("127.0.0.1")).is_none(), "all places are taken");
        drop(one);
        assert!(crowd.enter(address("192.0.2.1")).is_some());
        assert_eq!(crowd.counts(), (4, 3));
        drop(net);
        assert_eq!(crowd.here.lock().unwrap().of.len(), 2);
    }
}
