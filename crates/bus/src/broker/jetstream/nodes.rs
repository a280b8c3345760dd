//! Which node of the broker to be connected to.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{ReconnectToServer, Server, ServerAddr};

use super::JetStream;

/// A connected node that has given no answer for so long, counted from the first question that failed, is left. Nodes that
/// elect a leader give none for up to 9 s.
const MUTE_MAX: Duration = Duration::from_secs(10);

/// Chooses the node to connect to: the next one behind the last choice, of the others that have failed least. By chance it could
/// be the same again, and one that is frozen takes seconds to fail, one that is cut off from the others never does.
#[derive(Debug, Default)]
pub(super) struct Choice(Mutex<Option<ServerAddr>>);

impl Choice {
    pub(super) fn next(&self, nodes: &[Server]) -> Option<ReconnectToServer> {
        let mut last = lock(&self.0);
        let is_another = |node: &&Server| nodes.len() == 1 || last.as_ref() != Some(&node.addr);
        let fewest = nodes.iter().filter(is_another).map(|node| node.failed_attempts).min()?;
        let behind = nodes.iter().position(|node| last.as_ref() == Some(&node.addr)).map_or(0, |at| at + 1);
        let mut around = nodes.iter().cycle().skip(behind).take(nodes.len()).filter(is_another);
        let addr = around.find(|node| node.failed_attempts == fewest)?.addr.clone();
        *last = Some(addr.clone());
        Some(ReconnectToServer { addr, delay: None })
    }
}

/// Since when nothing is answered.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<Option<Instant>>);

impl Silence {
    /// Takes note of an answer or of the want of one, and says whether it has been silent for too long; then it begins anew.
    fn lasts(&self, answered: bool, now: Instant) -> bool {
        let mut since = lock(&self.0);
        let too_long = !answered && now.saturating_duration_since(*since.get_or_insert(now)) >= MUTE_MAX;
        if answered || too_long {
            *since = None;
        }
        too_long
    }
}

impl JetStream {
    /// Takes note of whether JetStream answered. A node that is cut off from the others keeps its clients and has no answers
    /// for them: it is left.
    pub(super) async fn heard(&self, answered: bool) {
        // Without a connection another one is looked for already, and alone there is nowhere to go.
        let is_silent = !answered && self.is_connected() && self.client.server_info().cluster.is_some();
        if self.silence.lasts(!is_silent, Instant::now()) {
            tracing::warn!("the node of the broker answers nothing, another one is tried");
            // It fails when the client has ended, and then nobody asks any more.
            let _ = self.client.force_reconnect().await;
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(failures: &[usize]) -> Vec<Server> {
        let node = |(port, failed_attempts): (usize, &usize)| Server {
            addr: format!("nats://127.0.0.1:{}", 4222 + port).parse().unwrap(),
            failed_attempts: *failed_attempts,
            did_connect: false,
            is_discovered: false,
            last_error: None,
        };
        failures.iter().enumerate().map(node).collect()
    }

    fn chosen(choice: &Choice, failures: &[usize]) -> Option<u16> {
        choice.next(&nodes(failures)).map(|chosen| chosen.addr.port())
    }

    #[test]
    fn the_next_node_is_chosen_and_those_that_fail_are_passed_over() {
        let choice = Choice::default();
        assert_eq!(chosen(&choice, &[]), None);
        let round = [4222, 4223, 4224, 4222].map(Some);
        assert_eq!([(); 4].map(|()| chosen(&choice, &[0, 0, 0])), round);
        assert_eq!(chosen(&choice, &[0, 1, 0]), Some(4224));
        assert_eq!(chosen(&choice, &[2, 3, 1]), Some(4222), "another one");
        assert_eq!(chosen(&choice, &[0, 1, 1]), Some(4223), "one that failed long ago may be back");
        assert_eq!([chosen(&choice, &[0]), chosen(&choice, &[0])], [Some(4222); 2]);
    }

    #[test]
    fn only_a_long_silence_counts() {
        let (silence, start) = (Silence::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!silence.lasts(false, start));
        assert!(!silence.lasts(false, after(9)));
        assert!(!silence.lasts(true, after(9)));
        assert!(!silence.lasts(false, after(10)));
        assert!(silence.lasts(false, after(20)));
        assert!(!silence.lasts(false, after(21)), "the next node has as long");
    }
}
