//! `orphan_maker [EVERY_MS [LIFE_MS [N]]]`: makes an orphan every so often (1000) that lives so long (100), N times or,
//! with 0, without end. It reaps its own children; the orphans are someone else's to bury. Ends on SIGTERM.

use actors::{Inbox, abandon, again, argument, millis, number, pass, say};

fn main() {
    match argument(1).as_deref() {
        Some("middle") => {
            let mut orphan = again("orphan");
            orphan.args(argument(2));
            abandon(orphan);
        }
        Some("orphan") => pass(millis(2, 0)),
        _ => make_orphans(),
    }
}

fn make_orphans() {
    let inbox = Inbox::holding(&["TERM", "INT"]);
    let (every, life, count) = (millis(1, 1000), number(2, 100), number(3, 0));
    let mut made = 0;
    loop {
        let enough = count != 0 && made == count;
        if inbox.wait((!enough).then_some(every)).is_some() {
            return;
        }
        again("middle").arg(life.to_string()).status().expect("the one in the middle");
        made += 1;
        say(&format!("orphan_maker: orphan {made}"));
    }
}
