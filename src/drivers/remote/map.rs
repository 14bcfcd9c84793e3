//! Reading a device by a map of the configuration, one register after the other.

use serde_json::Value;

use super::fault::Fault;
use super::frame::Table;
use super::master::Registers;
use super::report::{Reg, Report};
use super::value;
use crate::config::{RemoteFormat, RemoteMap, RemoteRegister, RemoteTable};

/// Reads every register of the map that can be read into `report`; an error if that is none, or if asking on is of no
/// use.
pub fn read(device: &mut dyn Registers, map: &RemoteMap, report: &Report) -> Result<(), Fault> {
    let mut last = None;
    let mut answered = false;
    for register in &map.registers {
        let table = match register.table {
            RemoteTable::Holding => Table::Holding,
            RemoteTable::Input => Table::Input,
        };
        match device.read(table, register.register, register.count()) {
            Ok(words) => {
                answered = true;
                match value(register, &words) {
                    Some(value) => report.found(vec![reg(register, value)]),
                    None => report.note(format!("{}: holds no value.", register.name)),
                }
            }
            Err(err) if err.is_final() => return Err(err),
            // Whoever never said anything will not do so for another register either.
            Err(err) if !answered && err.is_about_unit() => return Err(err),
            Err(err) => {
                report.note(format!("{}: {err}", register.name));
                last = Some(err);
            }
        }
        report.step(1.0 / map.registers.len() as f64);
    }
    match last {
        Some(err) if !answered => Err(Fault::NothingOfMap(Box::new(err))),
        _ => Ok(()),
    }
}

fn reg(register: &RemoteRegister, value: Value) -> Reg {
    Reg {
        id: register.name.clone(),
        place: String::new(),
        kind: register.kind.clone(),
        value: Some(value),
        unit: register.unit.clone(),
    }
}

/// The scaled value; `None` for a real number that is none, and for an empty text.
fn value(register: &RemoteRegister, words: &[u16]) -> Option<Value> {
    use RemoteFormat::*;
    if register.format == String {
        return value::text(words).map(Value::String);
    }
    let is_reversed = matches!(register.format, Uint32le | Int32le | Uint64le | Int64le | Float32le | Float64le);
    let add = |sum: u64, word: &u16| sum << 16 | u64::from(*word);
    let bits = if is_reversed { words.iter().rev().fold(0, add) } else { words.iter().fold(0, add) };
    let whole = match register.format {
        Float32 | Float32le => return value::real(tidy(f64::from(f32::from_bits(bits as u32)) * register.scale), 0),
        Float64 | Float64le => return value::real(tidy(f64::from_bits(bits) * register.scale), 0),
        Int16 => i128::from(bits as u16 as i16),
        Int32 | Int32le => i128::from(bits as u32 as i32),
        Int64 | Int64le => i128::from(bits as i64),
        Uint16 | Uint32 | Uint32le | Uint64 | Uint64le | String => i128::from(bits),
    };
    if register.scale == 1.0 { value::whole(whole, 0) } else { value::real(tidy(whole as f64 * register.scale), 0) }
}

/// Without the last digit's noise: a scale such as 0.1 is none that a double holds exactly.
fn tidy(number: f64) -> f64 {
    format!("{number:.14e}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(members: &str, words: &[u16], expect: &str) {
        let text = format!(r#"{{"name": "a", "register": 1, "type": "P", {members}}}"#);
        let register: RemoteRegister = serde_json::from_str(&text).unwrap();
        assert!(register.format == RemoteFormat::String || usize::from(register.count()) == words.len());
        assert_eq!(value(&register, words).map(|it| it.to_string()).unwrap_or_default(), expect);
    }

    #[test]
    fn values_have_their_format_order_and_scale() {
        check(r#""format": "uint16""#, &[0xffff], "65535");
        check(r#""format": "int16", "scale": 0.1"#, &[0xfc1f], "-99.3");
        check(r#""scale": 0.1"#, &[2301], "230.1");
        check(r#""format": "int32""#, &[0xffff, 0xfffe], "-2");
        check(r#""format": "int32le""#, &[0xfffe, 0xffff], "-2");
        check(r#""format": "uint32le", "scale": 1000"#, &[7, 1], "65543000.0");
        check(r#""format": "uint64""#, &[0xffff, 0xffff, 0xffff, 0xffff], "18446744073709551615");
        check(r#""format": "int64le""#, &[0xffff, 0xffff, 0xffff, 0xffff], "-1");
        check(r#""format": "float32""#, &[0x4366, 0x1aa0], "230.10400390625");
        check(r#""format": "float32le""#, &[0, 0x4148], "12.5");
        check(r#""format": "float32""#, &[0x7fc0, 0], "");
        check(r#""format": "float64""#, &[0x4029, 0, 0, 0], "12.5");
        check(r#""format": "float64le", "scale": 2"#, &[0, 0, 0, 0x4029], "25.0");
        check(r#""format": "string", "length": 2"#, &[0x4142, 0x4320], "\"ABC\"");
    }
}
