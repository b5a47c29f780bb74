//! Finds the known word that somebody may have meant. Pure.

/// How alike two words must be, from 0 to 1, for one to be a spelling of the other.
const ALIKE: f64 = 0.8;

/// Returns the known word that is most like `word`; of several, the first. `bare` leaves out what does not count.
pub(crate) fn nearest<'a>(
    word: &str,
    known: impl Iterator<Item = &'a str>,
    bare: impl Fn(&str) -> String,
) -> Option<&'a str> {
    let word = bare(word);
    let rated = known.map(|known| (strsim::jaro(&word, &bare(known)), known));
    let alike = rated.filter(|(likeness, _)| *likeness >= ALIKE);
    let best = alike.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, known)| known)
}
