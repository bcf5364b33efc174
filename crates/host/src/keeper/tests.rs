//! Which of two keepers the next supervisor finds. That they keep and give is tried with whole families (`tests/up/takeover.rs`).

use super::*;
use crate::control::place::{Bases, Place};
use crate::listen;
use crate::logs::test_directory::Scratch;
use crate::notify::FdStore;
use doula_model::id::ServiceId;
use doula_model::recipe::SocketAddress;
use doula_sys::fd;

/// A keeper without its process: a test has threads, and a copy of them cannot be made.
fn keeper() -> Keeper {
    let (ledger, wakes) = (Ledger::new().expect("memory"), Epoll::new().expect("an epoll set"));
    Keeper { ledger, wakes, process: None, us: None, listener: None }
}

fn answer(keeper: &mut Keeper, place: &Place) {
    let (listener, [new, path]) = place.bind(SOCKET).expect("a socket");
    keeper.answer_at(listener, [&new, &path]).expect("to be there");
}

#[test]
fn the_earlier_keeper_is_found_until_the_socket_of_the_later_one_is_renamed() {
    let scratch = Scratch::new();
    let bases = Bases::new(Some(scratch.dir().to_owned()), group::users().1);
    let place = bases.claim("two-keepers").expect("the place");
    let [mut earlier, mut later] = [keeper(), keeper()];
    let found = |keepers: [&Keeper; 2]| keepers.map(|keeper| keeper.ledger.listener().is_some());
    answer(&mut earlier, &place);
    assert_eq!(found([&earlier, &later]), [true, false]);
    // A supervisor that is killed here leaves all to the earlier one.
    let (listener, [_, path]) = place.bind(SOCKET).expect("a socket");
    assert_eq!(found([&earlier, &later]), [true, false]);
    // A directory does not take the place of a socket.
    later.answer_at(listener, [place.dir(), &path]).expect_err("rename(2)");
    assert_eq!(found([&earlier, &later]), [true, false]);
    answer(&mut later, &place);
    assert_eq!(found([&earlier, &later]), [false, true]);
    place.leave();
}

#[test]
fn what_was_inherited_keeps_the_number_under_which_it_was_written_down() {
    let ledger = Ledger::new().expect("memory");
    let (one, other) = fd::pipe().expect("pipe");
    let address = SocketAddress::Tcp("127.0.0.1:80".to_owned());
    let sockets = listen::Shared::outliving_us(ledger);
    let _socket = sockets.inherit(one, (7, address.clone(), None));
    assert_eq!(sockets.take_fresh(), [(7, address, None)]);
    let mut store = FdStore::new(4);
    store.outlive_us(ledger, ServiceId(1));
    store.inherit(other, 9, "memory");
    assert_eq!(store.take_fresh(), [(9, "memory".to_owned())]);
    assert_eq!(ledger.next_number(), 10);
}
