//! Words that fill the slots of templates.

use super::draw::Draw;

const STEMS: &[&str] = &[
    "Arlo", "Benton", "Calder", "Dorvik", "Elmar", "Fenwick", "Galden", "Harrow", "Ilmar", "Jarvis", "Kelso", "Lomax",
    "Marlow", "Norden", "Orwell", "Pelham", "Quint", "Ravel", "Selby", "Tarn", "Ulmer", "Vardo", "Weston", "Yarrow",
];
const TRADES: &[&str] = &["Bank", "Energy", "Foods", "Labs", "Mining", "Motors", "Paper", "Retail", "Steel", "Telecom"];
const SURNAMES: &[&str] =
    &["Adler", "Brandt", "Costa", "Duval", "Egan", "Ferro", "Grant", "Holm", "Ivers", "Jensen", "Klein", "Lund"];

pub(super) const CITIES: &[&str] =
    &["Bergen", "Dublin", "Ghent", "Lyon", "Malmo", "Milan", "Oslo", "Porto", "Riga", "Turin", "Vienna", "Zurich"];
pub(super) const MONTHS: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const PERIODS: &[&str] = &[
    "the first quarter",
    "the second quarter",
    "the third quarter",
    "the fourth quarter",
    "the first half",
    "the year",
];
const GOODS: &[&str] = &[
    "battery cells",
    "cargo ships",
    "coffee",
    "engines",
    "glass",
    "machine tools",
    "medical devices",
    "packaging",
    "pumps",
    "sensors",
    "software",
    "solar panels",
    "timber",
    "tyres",
];
const UNITS: &[&str] =
    &["brewery", "cement unit", "dairy arm", "leasing arm", "paper mill", "rail unit", "shipyard", "software unit"];
const EVENTS: &[&str] = &[
    "a dry summer",
    "a fire at a plant",
    "a port strike",
    "a storm",
    "a tax change",
    "a weak harvest",
    "new trade rules",
];
pub(super) const COMMODITIES: &[&str] =
    &["cocoa", "coffee", "copper", "corn", "cotton", "gold", "nickel", "silver", "sugar", "tin", "wheat", "zinc"];
const PLACES: &[&str] = &["Asia", "Chicago", "Europe", "London", "New York", "Singapore"];

/// A measure of which more is better.
pub(super) const GOOD_MEASURES: &[&str] = &[
    "cash flow",
    "earnings per share",
    "market share",
    "net profit",
    "operating profit",
    "order intake",
    "revenue",
    "the operating margin",
];
/// A measure of which less is better.
pub(super) const BAD_MEASURES: &[&str] = &[
    "customer complaints",
    "net debt",
    "operating costs",
    "staff turnover",
    "the interest bill",
    "the net loss",
    "unpaid invoices",
    "warranty claims",
];
pub(super) const UP: &[&str] = &["climbed", "grew", "increased", "rose", "went up"];
pub(super) const DOWN: &[&str] = &["decreased", "dropped", "fell", "shrank", "went down"];

/// Draws a company's name.
pub(super) fn company(draw: &mut Draw) -> String {
    format!("{} {}", draw.pick(STEMS), draw.pick(TRADES))
}

/// Another company, of another stem.
pub(super) fn other_company(draw: &mut Draw, than: &str) -> String {
    let stem = than.split(' ').next().expect("a split has a first piece");
    loop {
        let company = company(draw);
        if !company.starts_with(stem) {
            return company;
        }
    }
}

/// A slot by name.
pub(super) fn slot(name: &str, draw: &mut Draw) -> Option<String> {
    let list = match name {
        "city" => CITIES,
        "month" => MONTHS,
        "period" => PERIODS,
        "goods" => GOODS,
        "unit" => UNITS,
        "event" => EVENTS,
        "place" => PLACES,
        "commodity" => COMMODITIES,
        "measure" => {
            return Some(if draw.chance(50) { draw.pick(GOOD_MEASURES) } else { draw.pick(BAD_MEASURES) }.to_owned());
        }
        "moved" => return Some(if draw.chance(50) { draw.pick(UP) } else { draw.pick(DOWN) }.to_owned()),
        "company" => return Some(company(draw)),
        "person" => {
            return Some(format!("{}. {}", draw.pick(&["A", "C", "E", "J", "K", "M", "R", "T"]), draw.pick(SURNAMES)));
        }
        "n" => return Some((2 + draw.below(38)).to_string()),
        "percent" => return Some(format!("{} percent", 2 + draw.below(38))),
        "amount" => return Some(format!("{} million euros", 2 + draw.below(98))),
        "year" => return Some((2011 + draw.below(14)).to_string()),
        _ => return None,
    };
    Some(draw.pick(list).to_owned())
}
