//! How many connections come from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The open connections of each address; of a network in IPv6, where one machine has 2^64 addresses.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    max: usize,
}

/// A connection among those of its address, for as long as anybody holds it. A handler that takes a connection over (WebSocket)
/// finds it among the extensions of the request and keeps it.
#[derive(Clone, Debug)]
pub struct Held(#[allow(dead_code, reason = "it is held, not looked at")] Arc<Place>);

#[derive(Debug)]
struct Place {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Addresses {
    pub(super) fn new(max: usize) -> Self {
        Self { open: Arc::default(), max }
    }

    /// One more connection of this address, or `None` when it has as many as it may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Held> {
        let address = counted_as(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Held(Arc::new(Place { open: Arc::clone(&self.open), address })))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_so_many_and_gets_them_back() {
        let addresses = Addresses::new(2);
        let [one, mapped, other]: [IpAddr; 3] =
            ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let (first, second) = (addresses.enter(one).unwrap(), addresses.enter(mapped).unwrap());
        assert!(addresses.enter(one).is_none() && addresses.enter(other).is_some());
        let kept = first.clone();
        drop(first);
        assert!(addresses.enter(one).is_none(), "somebody holds it still");
        drop(kept);
        assert!(addresses.enter(one).is_some());
        drop(second);
        assert!(addresses.open.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one() {
        let addresses = Addresses::new(1);
        let [one, neighbour, far]: [IpAddr; 3] =
            ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        let _held = addresses.enter(one).unwrap();
        assert!(addresses.enter(neighbour).is_none() && addresses.enter(far).is_some());
    }
}
