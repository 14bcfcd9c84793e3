//! The ASCII form of a domain label with other letters (RFC 3492). It lower-cases and does no more: text is expected
//! to be composed (NFC) already, as keyboards write it; a name that is not is one that the DNS does not know.

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const FIRST_BIAS: u32 = 72;
const FIRST_CODE: u32 = 0x80;

/// `xn--...` for a label that is not ASCII; nothing if it gets longer than `max` characters.
pub(super) fn label(text: &str, max: usize) -> Option<String> {
    let chars: Vec<u32> = text.to_lowercase().chars().map(u32::from).collect();
    // Every character takes at least one digit, so this is refused before any counting.
    if chars.len() > max {
        return None;
    }
    let mut res = String::from("xn--");
    res.extend(chars.iter().filter_map(|it| u8::try_from(*it).ok()).filter(u8::is_ascii).map(char::from));
    let n_basic = (res.len() - 4) as u32;
    if n_basic > 0 {
        res.push('-');
    }
    let (mut code, mut delta, mut bias, mut done) = (FIRST_CODE, 0_u32, FIRST_BIAS, n_basic);
    while (done as usize) < chars.len() {
        let next = chars.iter().copied().filter(|it| code <= *it).min()?;
        delta = delta.checked_add((next - code).checked_mul(done + 1)?)?;
        code = next;
        for &it in &chars {
            if it < code {
                delta += 1;
            } else if it == code {
                number(&mut res, delta, bias);
                bias = adapt(delta, done + 1, done == n_basic);
                delta = 0;
                done += 1;
            }
        }
        delta += 1;
        code += 1;
    }
    (res.len() <= max).then_some(res)
}

/// Appends `value` as a number whose digits weigh as RFC 3492, 3.3 has it.
fn number(to: &mut String, mut value: u32, bias: u32) {
    let mut k = BASE;
    loop {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if value < threshold {
            return to.push(digit(value));
        }
        let span = BASE - threshold;
        to.push(digit(threshold + (value - threshold) % span));
        value = (value - threshold) / span;
        k += BASE;
    }
}

fn digit(value: u32) -> char {
    char::from(b"abcdefghijklmnopqrstuvwxyz0123456789"[value as usize])
}

fn adapt(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = if first { delta / DAMP } else { delta / 2 };
    delta += delta / points;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(label(text, 63).as_deref(), Some(expect), "{text}");
    }

    #[test]
    fn labels_are_those_of_registered_names() {
        check("bücher", "xn--bcher-kva");
        check("BÜCHER", "xn--bcher-kva");
        check("münchen", "xn--mnchen-3ya");
        check("例子", "xn--fsqu00a");
        check("испытание", "xn--80akhbyknj4f");
        check("טעסט", "xn--deba0ad");
        check("테스트", "xn--9t4b11yi5a");
        check("ü", "xn--tda");
    }

    #[test]
    fn the_sample_strings_of_the_standard_are_encoded_as_there() {
        // RFC 3492, 7.1, (A) Arabic, (B) Chinese, (L) and (P) Japanese.
        check("ليهمابتكلموشعربي؟", "xn--egbpdaj6bu4bxfgehfvwxn");
        check("他们为什么不说中文", "xn--ihqwcrb4cv8a8dqg056pqjye");
        check("3年b組金八先生", "xn--3b-ww4c5e180e575a65lsy2b");
        check("majiでkoiする5秒前", "xn--majikoi5-783gue6qz075azm5e");
    }

    #[test]
    fn one_that_gets_too_long_is_none() {
        assert_eq!(label(&"ü".repeat(64), 63), None);
        assert_eq!(label(&"ü字".repeat(31), 63), None);
    }
}
