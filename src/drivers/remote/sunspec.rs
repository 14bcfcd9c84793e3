//! Walking through a SunSpec device: the mark, one model after the other by the lengths that the device says, the
//! values of those that are known (SunSpec Device Information Model Specification 1.1). It only asks for registers.

use std::ops::Range;

use super::fault::Fault;
use super::frame::Table;
use super::master::Registers;
use super::models::{self, Model, Point, Scale, type_code};
use super::report::{Reg, Report};
use super::value;

/// Where the mark may be, in the order of how usual that is.
const BASES: [u16; 3] = [40000, 50000, 0];
/// "SunS".
const MARK: [u16; 2] = [0x5375, 0x6e53];
/// The model number that ends the list.
const END: u16 = 0xffff;
/// Models of one device; there are about thirty in the largest.
const MAX_MODELS: usize = 128;
/// Registers that are read at once, less than a request may ask for: some devices stop below.
const AT_ONCE: usize = 120;
/// Registers at once that every device manages.
const FEW: usize = 16;

/// Reads everything that the device says of itself into `report`. The error leaves there what was found before.
pub fn walk(device: &mut dyn Registers, report: &Report) -> Result<(), Fault> {
    let base = find(device, report)?;
    report.note(format!("Found the SunSpec mark at register {base}."));
    let mut walk = Walk { device, report, limit: AT_ONCE };
    let mut address = u32::from(base) + 2;
    let mut seen: Vec<u16> = Vec::new();
    while seen.len() < MAX_MODELS {
        report.step(0.15);
        let Some((id, length)) = walk.header(address)? else {
            let (n, regs) = (seen.len(), report.count());
            report.note(format!("End of the list: {n} models, {regs} registers with values."));
            return Ok(());
        };
        seen.push(id);
        let instance = seen.iter().filter(|it| **it == id).count();
        let first = address + 2;
        address = first + u32::from(length);
        if 0x1_0000 < address {
            report.note(format!("Model {id} says that it has {length} registers, which is beyond the last register."));
            return Err(Fault::EndlessModels);
        }
        match models::find(id) {
            None => report.note(format!("Model {id}, {length} registers: not known here, passed over.")),
            // The check above is what makes it fit.
            Some(model) => walk.model(id, instance, &model, first as u16, length)?,
        }
    }
    Err(Fault::EndlessModels)
}

/// The register where the mark is.
fn find(device: &mut dyn Registers, report: &Report) -> Result<u16, Fault> {
    let (mut answered, mut found, mut last) = (false, Vec::new(), None);
    for base in BASES {
        report.note(format!("Looking for a SunSpec device at register {base}."));
        match device.read(Table::Holding, base, 2) {
            Ok(words) if words == MARK => return Ok(base),
            Ok(words) => {
                let words: Vec<String> = words.iter().map(|it| format!("{it:04X}")).collect();
                found.push(format!("register {base} holds {}", words.join(" ")));
                answered = true;
            }
            Err(err) if err.is_final() => return Err(err),
            Err(err) => {
                answered |= !err.is_about_unit();
                found.push(match &err {
                    Fault::Exception { code, .. } => format!("register {base} is refused with exception {code:02X}"),
                    _ => format!("to register {base} there is no answer"),
                });
                report.note(err.to_string());
                // A word about the unit tells more than a silence after it.
                last = last
                    .filter(|it| matches!((it, &err), (Fault::Exception { .. }, Fault::Silent { .. })))
                    .or(Some(err));
            }
        }
    }
    match last {
        Some(err) if !answered => Err(err),
        _ => Err(Fault::NotSunSpec(found.join(", "))),
    }
}

/// The device, and how much of it can be read at once.
struct Walk<'a, 'b> {
    device: &'a mut dyn Registers,
    report: &'a Report<'b>,
    limit: usize,
}

impl Walk<'_, '_> {
    /// Number and length of the model whose header is here; `None` at the end of the list.
    fn header(&mut self, address: u32) -> Result<Option<(u16, u16)>, Fault> {
        let Ok(at) = u16::try_from(address) else { return Err(Fault::EndlessModels) };
        let words = match self.device.read(Table::Holding, at, if at == u16::MAX { 1 } else { 2 }) {
            // Some devices end with the number alone.
            Err(Fault::Exception { .. }) => self.device.read(Table::Holding, at, 1)?,
            other => other?,
        };
        match words[..] {
            [END, ..] => Ok(None),
            [id, length] => Ok(Some((id, length))),
            _ => Err(Fault::EndlessModels),
        }
    }

    /// Reads one model and shows its values.
    fn model(&mut self, id: u16, instance: usize, model: &Model, first: u16, length: u16) -> Result<(), Fault> {
        let layout = Layout::of(model, usize::from(length));
        let words = match self.registers(&layout, first) {
            Ok(words) => words,
            Err(err) if err.is_final() => return Err(err),
            Err(err) => {
                self.report.note(format!("Model {id} ({}) cannot be read, passed over. {err}", model.title));
                return Ok(());
            }
        };
        let regs = values(&format!("{id}:{instance}"), &layout, model, &words);
        let (n, title) = (regs.len(), model.title);
        self.report.found(regs);
        self.report.note(format!("Model {id} ({title}), {length} registers: {n} values."));
        Ok(())
    }

    /// The registers of all points. No point is cut in two, or its halves might be of different moments.
    fn registers(&mut self, layout: &Layout, first: u16) -> Result<Vec<u16>, Fault> {
        let (end, ends) = (layout.end(), layout.ends());
        let mut res: Vec<u16> = Vec::with_capacity(end);
        while res.len() < end {
            let from = res.len();
            let fits = |it: &usize| from < *it && *it <= from + self.limit;
            // A text longer than the limit is cut all the same.
            let to = ends.iter().copied().rev().find(fits).unwrap_or((from + self.limit).min(end));
            // Both are below the model's length, and that ends within the address space.
            match self.device.read(Table::Holding, first + from as u16, (to - from) as u16) {
                Ok(words) => res.extend(words),
                Err(Fault::Exception { code: 0x02 | 0x03, .. }) if FEW < self.limit => self.limit /= 2,
                Err(err) => return Err(err),
            }
        }
        Ok(res)
    }
}

/// Where the points of a model are that has a certain length, which need not be that of its definition.
struct Layout<'a> {
    /// The points before any that repeat, as many as there is room for.
    fixed: &'a [Point],
    /// Registers of these.
    fixed_size: usize,
    /// The points that repeat.
    group: &'a [Point],
    /// Registers of one repetition.
    group_size: usize,
    /// Repetitions that there is room for.
    room: usize,
}

impl<'a> Layout<'a> {
    fn of(model: &'a Model, length: usize) -> Layout<'a> {
        let mut size = 0;
        let fitting = model.points.iter().take_while(|it| {
            size += it.kind.size();
            size <= length
        });
        let fixed = &model.points[..fitting.count()];
        let fixed_size = models::size(fixed);
        let group = model.group.as_ref().map_or(&[][..], |it| &it.points);
        let group_size = models::size(group);
        let is_whole = fixed.len() == model.points.len();
        let room = if is_whole { (length - fixed_size).checked_div(group_size).unwrap_or(0) } else { 0 };
        Layout { fixed, fixed_size, group, group_size, room }
    }

    fn end(&self) -> usize {
        self.fixed_size + self.room * self.group_size
    }

    /// Where each point ends, in order.
    fn ends(&self) -> Vec<usize> {
        let mut res = Vec::with_capacity(self.fixed.len() + self.room * self.group.len());
        let mut at = 0;
        let all = (0..self.room).flat_map(|_| self.group);
        for point in self.fixed.iter().chain(all) {
            at += point.kind.size();
            res.push(at);
        }
        res
    }
}

/// The values among the registers of a model, without those that the device does not implement.
fn values(place: &str, layout: &Layout, model: &Model, words: &[u16]) -> Vec<Reg> {
    let fixed = Block { points: layout.fixed, words: &words[..layout.fixed_size] };
    let mut res: Vec<Reg> = fixed.regs(place, None).collect();
    let count = model.group.as_ref().and_then(|it| it.count).and_then(|it| fixed.word(it));
    // The count is the device's word; there are never more than there is room for.
    let count = count.filter(|it| *it != u16::MAX).map_or(layout.room, |it| layout.room.min(usize::from(it)));
    let groups = words[layout.fixed_size..].chunks_exact(layout.group_size.max(1)).take(count);
    for (at, words) in groups.enumerate() {
        let block = Block { points: layout.group, words };
        res.extend(block.regs(&format!("{place}:{}", at + 1), Some(&fixed)));
    }
    res
}

/// Points with their registers.
#[derive(Clone, Copy)]
struct Block<'a> {
    points: &'a [Point],
    words: &'a [u16],
}

impl<'a> Block<'a> {
    fn each(self) -> impl Iterator<Item = (&'a Point, &'a [u16])> {
        let mut at = 0;
        self.points.iter().map(move |point| {
            let range: Range<usize> = at..at + point.kind.size();
            at = range.end;
            (point, self.words.get(range).unwrap_or(&[]))
        })
    }

    /// The first register of a point.
    fn word(self, name: &str) -> Option<u16> {
        self.each().find(|it| it.0.name == name)?.1.first().copied()
    }

    /// The registers for the report. Scale factors are looked for here and then in the fixed part; one that is not
    /// implemented scales nothing.
    fn regs(self, place: &str, fixed: Option<&Block<'a>>) -> impl Iterator<Item = Reg> {
        self.each().filter_map(move |(point, words)| {
            let factor = |name: &str| self.word(name).or_else(|| fixed?.word(name));
            let scale = match point.scale {
                Scale::Fixed(power) => power,
                Scale::Point(name) => match factor(name) {
                    None | Some(0x8000) => 0,
                    Some(word) => value::scale(word)?,
                },
            };
            Some(Reg {
                id: point.name.to_string(),
                place: place.to_string(),
                kind: type_code(point).to_string(),
                value: Some(value::read(point.kind, words, scale)?),
                unit: point.unit.to_string(),
            })
        })
    }
}
