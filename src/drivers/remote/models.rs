//! The SunSpec models that can be read: a table in text form, derived from the published definitions by `models.py`, of
//! which only the part of a model that was met is taken apart.

/// The table; its head says where it comes from and what its lines mean.
const TABLE: &str = include_str!("models.txt");

/// A model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Model {
    /// What it is about.
    pub(super) title: &'static str,
    /// Its points, from the register after its length on.
    pub(super) points: Vec<Point>,
    /// The points after these that repeat.
    pub(super) group: Option<Group>,
}

/// Points that repeat.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    /// What one of them is called.
    pub(super) name: &'static str,
    /// The point that says how often; without one they repeat to the end of the model.
    pub(super) count: Option<&'static str>,
    /// The points of one repetition.
    pub(super) points: Vec<Point>,
}

/// A value, or something that other values need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Its id, unique within the model or the group.
    pub(super) name: &'static str,
    /// What its registers hold.
    pub(super) kind: Kind,
    /// The power of ten that it is multiplied by.
    pub(super) scale: Scale,
    /// Its unit; empty if it has none.
    pub(super) unit: &'static str,
}

/// Where the power of ten is that a point is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// It is always this one.
    Fixed(i32),
    /// The point of this name has it.
    Point(&'static str),
}

/// What a point's registers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) enum Kind {
    Int16,
    Uint16,
    Count,
    Enum16,
    Bits16,
    Pad,
    /// A power of ten.
    Scale,
    Int32,
    Uint32,
    Acc32,
    Enum32,
    Bits32,
    Float32,
    Uint64,
    Acc64,
    /// Text of so many registers.
    Text(u16),
}

impl Kind {
    fn parse(name: &str) -> Option<Kind> {
        Some(match name {
            "int16" => Kind::Int16,
            "uint16" => Kind::Uint16,
            "count" => Kind::Count,
            "enum16" => Kind::Enum16,
            "bitfield16" => Kind::Bits16,
            "pad" => Kind::Pad,
            "sunssf" => Kind::Scale,
            "int32" => Kind::Int32,
            "uint32" => Kind::Uint32,
            "acc32" => Kind::Acc32,
            "enum32" => Kind::Enum32,
            "bitfield32" => Kind::Bits32,
            "float32" => Kind::Float32,
            "uint64" => Kind::Uint64,
            "acc64" => Kind::Acc64,
            other => Kind::Text(other.strip_prefix("string")?.parse().ok()?),
        })
    }

    /// How many registers it fills.
    pub(super) fn size(self) -> usize {
        match self {
            Kind::Int16 | Kind::Uint16 | Kind::Count | Kind::Enum16 | Kind::Bits16 | Kind::Pad | Kind::Scale => 1,
            Kind::Int32 | Kind::Uint32 | Kind::Acc32 | Kind::Enum32 | Kind::Bits32 | Kind::Float32 => 2,
            Kind::Uint64 | Kind::Acc64 => 4,
            Kind::Text(n) => usize::from(n),
        }
    }
}

/// The model with this number, if it can be read.
pub(super) fn find(id: u16) -> Option<Model> {
    let mut lines = TABLE.lines().skip_while(|line| number(line) != Some(id));
    let title = lines.next()?.split_once(' ')?.1;
    let mut res = Model { title, points: Vec::new(), group: None };
    for line in lines.take_while(|it| !it.starts_with('=')) {
        if let Some((name, count)) = line.strip_prefix('+').and_then(|it| it.split_once(' ')) {
            res.group = Some(Group { name, count: (count != "*").then_some(count), points: Vec::new() });
            continue;
        }
        let point = point(line)?;
        match &mut res.group {
            Some(group) => group.points.push(point),
            None => res.points.push(point),
        }
    }
    Some(res)
}

/// The number of a model that begins on this line.
fn number(line: &str) -> Option<u16> {
    line.strip_prefix('=')?.split(' ').next()?.parse().ok()
}

fn point(line: &'static str) -> Option<Point> {
    let mut parts = line.splitn(4, ' ');
    let (name, kind) = (parts.next()?, Kind::parse(parts.next()?)?);
    let scale = match parts.next()? {
        "-" => Scale::Fixed(0),
        text => text.parse().map_or(Scale::Point(text), Scale::Fixed),
    };
    Some(Point { name, kind, scale, unit: parts.next().unwrap_or("") })
}

/// How many registers these points fill.
pub(super) fn size(points: &[Point]) -> usize {
    points.iter().map(|it| it.kind.size()).sum()
}

/// The type code of the WebAPI for values of this unit. A counter of energy belongs to a register of power, which the
/// meter keeps as energy anyway.
pub(super) fn type_code(point: &Point) -> &'static str {
    match point.kind {
        Kind::Enum16 | Kind::Enum32 | Kind::Bits16 | Kind::Bits32 | Kind::Count | Kind::Text(_) => return "d",
        _ => {}
    }
    match point.unit {
        "W" | "Wh" | "WH" => "P",
        "VA" | "VAh" => "S",
        "var" | "Var" | "varh" | "Varh" => "var",
        "V" | "Vm" => "V",
        "A" => "I",
        "Hz" => "F",
        "C" => "T",
        "Ah" | "AH" => "Qe",
        "ohms" => "R",
        "W/m2" => "Ee",
        "HPa" => "Pa",
        "m/s" | "mps" => "v",
        "Degrees" | "deg" => "a",
        "Pct" => "%",
        "PF" | "cos()" => "#3",
        unit if unit.starts_with('%') => "%",
        _ => "#",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_can_be_read() {
        let ids: Vec<u16> = TABLE.lines().filter(|it| it.starts_with('=')).map(|it| number(it).unwrap()).collect();
        assert!(ids.is_sorted() && ids.len() > 40);
        for id in &ids {
            let model = find(*id).unwrap_or_else(|| panic!("model {id}"));
            assert!(!model.title.is_empty() && !model.points.is_empty() || model.group.is_some(), "{id}");
            let all = || model.points.iter().chain(model.group.iter().flat_map(|it| &it.points));
            for point in all() {
                let is_there = match point.scale {
                    Scale::Fixed(n) => (-10..=10).contains(&n),
                    Scale::Point(name) => all().any(|it| it.name == name && it.kind == Kind::Scale),
                };
                assert!(is_there, "{id} {}", point.name);
            }
            if let Some(Group { count: Some(count), .. }) = model.group {
                assert!(model.points.iter().any(|it| it.name == count && it.kind.size() == 1), "{id} {count}");
            }
        }
        let wanted = [1, 101, 102, 103, 111, 112, 113, 120, 121, 122, 123, 124, 160, 701, 802];
        let meters = [201, 202, 203, 204, 211, 212, 213, 214];
        assert!(wanted.iter().chain(&meters).all(|it| ids.contains(it)));
        assert_eq!(find(65535), None);
        assert_eq!(find(10), None);
    }

    #[test]
    fn models_have_the_published_lengths() {
        for (id, length) in [(1, 66), (101, 50), (103, 50), (111, 60), (120, 26), (124, 24), (203, 105), (213, 124)] {
            assert_eq!(size(&find(id).unwrap().points), length, "{id}");
        }
        let strings = find(160).unwrap();
        assert_eq!((size(&strings.points), size(&strings.group.unwrap().points)), (8, 20));
    }

    #[test]
    fn units_become_type_codes() {
        let code = |model, name| type_code(find(model).unwrap().points.iter().find(|it| it.name == name).unwrap());
        let got = ["A", "PhVphA", "W", "Hz", "VA", "VAr", "PF", "WH", "TmpCab", "St"].map(|it| code(103, it));
        assert_eq!(got, ["I", "V", "P", "F", "S", "var", "%", "P", "T", "d"]);
        assert_eq!((code(1, "Mn"), code(802, "SoC"), code(213, "PF")), ("d", "%", "#3"));
    }
}
