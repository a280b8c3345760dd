//! Whether anything is missing between two connections.

use ledgerflux_client::{Update, v1::StreamEventKind};

use super::Happening;

/// What is known of the seam between the newest connection and those before it. With a token alone nothing is known: the server
/// may have to begin anew all the same, and says so before it says that the stream is live.
#[derive(Debug, Default)]
pub(super) struct Seam {
    again: bool,
    is_live: bool,
    /// Something that happened since a stream was live has not come, and will not; also when a connection that would have said
    /// so was not live before it ended.
    missed: bool,
}

impl Seam {
    /// A connection was made. That it was made is told at once for the first one, and with what follows for another.
    pub(super) fn connected(&mut self, again: bool, with_token: bool) -> Option<Happening> {
        *self = Self { again, is_live: false, missed: self.missed || !with_token };
        (!again).then_some(Happening::Connected { again, resumed: false })
    }

    /// What is to be told before this update.
    pub(super) fn before(&mut self, update: &Update) -> Option<Happening> {
        let Update::Event(event) = update else { return None };
        match event.kind() {
            StreamEventKind::NotRecovered if !self.is_live => self.missed = true,
            StreamEventKind::Live if !self.is_live => {
                self.is_live = true;
                let resumed = !std::mem::take(&mut self.missed);
                return self.again.then_some(Happening::Connected { again: true, resumed });
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use StreamEventKind::{Checkpoint, Live, NotRecovered};
    use ledgerflux_client::v1::StreamEvent;

    use super::*;

    /// What is told of connections that give these events, each with a token or without: whether it resumed.
    fn told(connections: &[(bool, &[StreamEventKind])]) -> Vec<Option<bool>> {
        let mut seam = Seam::default();
        let mut told = Vec::new();
        for (at, (with_token, kinds)) in connections.iter().enumerate() {
            assert_eq!(seam.connected(at > 0, *with_token).is_some(), at == 0);
            let mut resumed = None;
            for kind in *kinds {
                let event = StreamEvent { kind: (*kind).into(), ..StreamEvent::default() };
                if let Some(happening) = seam.before(&Update::Event(event)) {
                    let Happening::Connected { again: true, resumed: so } = happening else {
                        panic!("{happening:?}")
                    };
                    assert_eq!(
                        (*kind, resumed.replace(so)),
                        (Live, None),
                        "it is told once, when it is live"
                    );
                }
            }
            told.push(resumed);
        }
        told
    }

    #[test]
    fn only_a_token_that_the_server_could_go_on_from_resumes() {
        let first: (bool, &[StreamEventKind]) = (false, &[Live, Checkpoint]);
        assert_eq!(told(&[first, (true, &[Checkpoint, Live])]), [None, Some(true)]);
        assert_eq!(
            told(&[first, (true, &[NotRecovered, Live]), (true, &[Live])]),
            [None, Some(false), Some(true)]
        );
        assert_eq!(told(&[first, (false, &[Live])]), [None, Some(false)], "there was no token");
        assert_eq!(
            told(&[first, (true, &[NotRecovered, Checkpoint]), (true, &[Live])]),
            [None, None, Some(false)]
        );
        // What the gateway missed while the stream was live has been told, and is no matter of the next connection.
        assert_eq!(told(&[(false, &[Live, NotRecovered]), (true, &[Live])]), [None, Some(true)]);
    }
}
