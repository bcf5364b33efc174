//! `doula doctor --self`: what this machine offers doula, and what is lost where it does not.

use crate::error::{Exit, Outcome};
use crate::ui::{Cell, Style, Table, Ui};
use doula_host::diagnosis::{Offer, offers};
use serde_json::{Value, json};

pub(super) fn run(as_json: bool, ui: &mut Ui) -> Outcome {
    let offers = offers();
    if as_json {
        let tell = |offer: &Offer| json!({ "name": offer.name, "has": offer.has, "detail": offer.detail, "without": offer.without });
        ui.json(&offers.iter().map(tell).collect::<Value>())?;
        return Ok(exit(&offers));
    }
    let mut table = Table::new(&["", "WHAT", "HERE", "WITHOUT IT"]);
    for offer in &offers {
        let (word, style) = if offer.has { ("yes", Style::Good) } else { ("no", Style::Busy) };
        let without = if offer.has { "" } else { offer.without };
        table.row(vec![
            Cell::new(word).style(style),
            Cell::new(offer.name),
            Cell::new(&offer.detail),
            Cell::new(without),
        ]);
    }
    ui.print(&table.render(ui.color(), ui.width()))?;
    Ok(exit(&offers))
}

/// What doula cannot be without is missing.
fn exit(offers: &[Offer]) -> Exit {
    if offers.iter().all(|offer| offer.has || !offer.needed) { Exit::OK } else { Exit(1) }
}
