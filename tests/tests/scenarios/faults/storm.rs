//! The weather between the applier and the API server: which request breaks, and how.

use std::time::Duration;

use e2e::fault_proxy::{Asked, Fault};

use crate::dice::Dice;

/// The longest that an answer is held back, or a watch lives, in milliseconds.
const LONGEST: u64 = 400;

/// Of a hundred requests of a kind so many break.
const WRITES: u64 = 25;
const READS: u64 = 15;
const WATCHES: u64 = 30;

pub(super) fn rule(mut dice: Dice) -> impl FnMut(&Asked) -> Option<Fault> + Send + 'static {
    move |asked| {
        let share = match asked.verb {
            "watch" => WATCHES,
            "read" => READS,
            _ => WRITES,
        };
        (dice.below(100) < share)
            .then(|| if asked.verb == "watch" { watch(&mut dice) } else { other(&mut dice) })
    }
}

fn watch(dice: &mut Dice) -> Fault {
    match dice.below(7) {
        0 => refuse(410),
        1 => refuse(500),
        2 => refuse(429),
        3 => Fault::Forgotten,
        4 => Fault::CutBefore,
        _ => Fault::CutLater(pause(dice)),
    }
}

fn other(dice: &mut Dice) -> Fault {
    match dice.below(10) {
        0 => refuse(409),
        1 => Fault::Refuse { code: 429, retry_after: Some(1) },
        2 => refuse(410),
        3 => refuse(500),
        4 => refuse(503),
        5 => Fault::CutBefore,
        6 | 7 => Fault::CutAfter,
        8 => Fault::HalfClose,
        _ => Fault::Stall(pause(dice)),
    }
}

const fn refuse(code: u16) -> Fault {
    Fault::Refuse { code, retry_after: None }
}

fn pause(dice: &mut Dice) -> Duration {
    Duration::from_millis(dice.below(LONGEST))
}
