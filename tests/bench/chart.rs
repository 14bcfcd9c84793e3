//! Line charts with logarithmic axes as one SVG, for a page that is light or dark: it has no ground of its own, its lines
//! are of middling lightness, and its text follows the reader's scheme.

use std::fmt::Write;

/// Lines over one quantity.
pub struct Panel {
    pub title: String,
    /// What runs along the bottom.
    pub x: &'static str,
    pub lines: Vec<Line>,
}

/// A name and the points from left to right; all values are positive.
pub struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

const COLOURS: [&str; 3] = ["#2f81f7", "#d08700", "#2da44e"];
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#59636e}.t{font-weight:600}.g{stroke:#8b949e;stroke-opacity:.3}\
                     @media(prefers-color-scheme:dark){text{fill:#b1bac4}}";
/// Width and height of a panel, of what is drawn in it, and where that begins.
const PANEL: (f64, f64) = (380.0, 260.0);
const PLOT: (f64, f64) = (300.0, 160.0);
const CORNER: (f64, f64) = (58.0, 52.0);

/// All panels, two in a row.
pub fn svg(panels: &[Panel]) -> String {
    let (width, height) = (2.0 * PANEL.0, panels.len().div_ceil(2) as f64 * PANEL.1);
    let mut res = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<style>{STYLE}</style>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        let (x, y) = ((at % 2) as f64 * PANEL.0, (at / 2) as f64 * PANEL.1);
        writeln!(res, "<g transform=\"translate({x} {y})\">{}</g>", body(panel)).unwrap();
    }
    res + "</svg>\n"
}

/// The panel's text, grid and lines.
fn body(panel: &Panel) -> String {
    let points = || panel.lines.iter().flat_map(|it| &it.points);
    let (left, right) = span(points().map(|it| it.0));
    let (low, high) = span(points().map(|it| it.1));
    // Whole decades upwards; along the bottom just from the first to the last point.
    let (low, high) = (low.log10().floor(), high.log10().ceil().max(low.log10().floor() + 1.0));
    let x = |value: f64| CORNER.0 + PLOT.0 * (value / left).ln() / (right / left).ln().max(f64::MIN_POSITIVE);
    let y = |value: f64| CORNER.1 + PLOT.1 * (high - value.log10()) / (high - low);
    let (far, bottom) = (CORNER.0 + PLOT.0, CORNER.1 + PLOT.1);

    let mut res = format!("<text class=\"t\" x=\"{}\" y=\"18\">{}</text>", CORNER.0, panel.title);
    for decade in low as i32..=high as i32 {
        let (value, at) = (10f64.powi(decade), y(10f64.powi(decade)));
        write!(res, "<path class=\"g\" d=\"M{:.1} {at:.1}H{far:.1}\"/>", CORNER.0).unwrap();
        write!(res, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", CORNER.0 - 8.0, at + 4.0, short(value))
            .unwrap();
    }
    for (value, _) in panel.lines.first().map_or(&[][..], |it| &it.points) {
        let at = x(*value);
        write!(res, "<path class=\"g\" d=\"M{at:.1} {:.1}V{bottom:.1}\"/>", CORNER.1).unwrap();
        let below = bottom + 16.0;
        write!(res, "<text x=\"{at:.1}\" y=\"{below:.1}\" text-anchor=\"middle\">{}</text>", short(*value)).unwrap();
    }
    let (middle, below) = (CORNER.0 + PLOT.0 / 2.0, bottom + 34.0);
    write!(res, "<text x=\"{middle}\" y=\"{below}\" text-anchor=\"middle\">{}</text>", panel.x).unwrap();
    for ((at, line), colour) in panel.lines.iter().enumerate().zip(COLOURS) {
        let key = CORNER.0 + at as f64 * PLOT.0 / 3.0;
        write!(res, "<path d=\"M{key} 35h14\" stroke=\"{colour}\" stroke-width=\"3\"/>").unwrap();
        write!(res, "<text x=\"{}\" y=\"39\">{}</text>", key + 19.0, line.name).unwrap();
        let corners: Vec<String> = line.points.iter().map(|it| format!("{:.1},{:.1}", x(it.0), y(it.1))).collect();
        let corners = corners.join(" ");
        write!(res, "<polyline points=\"{corners}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>").unwrap();
        for (a, b) in &line.points {
            write!(res, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", x(*a), y(*b)).unwrap();
        }
    }
    res
}

fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(low, high), it| (low.min(it), high.max(it)))
}

/// 10000 is 10k.
pub fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{}M", value / 1e6),
        1e3.. => format!("{}k", value / 1e3),
        _ => format!("{value}"),
    }
}
