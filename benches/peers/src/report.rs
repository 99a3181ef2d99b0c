//! What came out: figures by row and side, printed as Markdown tables and drawn as bars.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::sides::NEIGHBOURS;

/// The rows that belong into one table, with its title and unit.
const TABLES: &[(&str, &str, &str, &[&str])] = &[
    (
        "appends",
        "Appends that survive `kill -9`",
        "M values/s",
        &["single100", "many100", "linger100", "threads2", "threads16"],
    ),
    (
        "appends-cpu",
        "The same, by the calling thread's processor time",
        "M values/s",
        &["single100 by CPU", "many100 by CPU", "linger100 by CPU"],
    ),
    (
        "topics",
        "Appends round robin over many topics",
        "M values/s",
        &["topics1000", "topics1000 by CPU", "topics10000", "topics10000 by CPU"],
    ),
    (
        "reads",
        "Reading back, checked",
        "M values/s",
        &["read100", "read100 again, at rest", "read100 of many100", "read100b"],
    ),
    (
        "reads-cpu",
        "The same, by processor time",
        "M values/s",
        &["read100 by CPU", "the same by CPU", "read100b by CPU"],
    ),
    (
        "large",
        "Values of 1 KiB, 100 a call",
        "GB/s",
        &["batch1k", "batch1k by CPU", "read1k", "read1k by CPU", "read1k again, at rest"],
    ),
    (
        "durable",
        "Power-durable appends of 1 KiB",
        "k calls/s",
        &["sync1", "sync16", "sync64", "synctopics"],
    ),
];

#[derive(Default)]
pub struct Results {
    figures: Vec<(&'static str, &'static str, Vec<f64>)>,
    /// Workloads in which a side lost or changed what it was given.
    failed: Vec<(&'static str, &'static str)>,
}

/// The median, the least and the most.
fn spread(figures: &[f64]) -> (f64, f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
}

fn digits(figure: f64) -> String {
    match figure {
        f if f >= 100.0 => format!("{f:.0}"),
        f if f >= 10.0 => format!("{f:.1}"),
        f => format!("{f:.2}"),
    }
}

impl Results {
    pub fn add(&mut self, row: &'static str, side: &'static str, figure: f64) {
        match self.figures.iter_mut().find(|(r, s, _)| (*r, *s) == (row, side)) {
            Some((_, _, figures)) => figures.push(figure),
            None => self.figures.push((row, side, vec![figure])),
        }
    }

    pub fn fail(&mut self, row: &'static str, side: &'static str) {
        self.failed.push((row, side));
    }

    /// What a table says where there is no figure.
    fn none(&self, row: &str, side: &str) -> String {
        let failed = self.failed.iter().any(|(r, s)| (*r, *s) == (row, side));
        if failed {
            "loses records".to_owned()
        } else {
            "-".to_owned()
        }
    }

    fn of(&self, row: &str) -> Vec<(&'static str, (f64, f64, f64))> {
        let found = self.figures.iter().filter(|(r, ..)| *r == row);
        let mut found: Vec<_> = found.map(|(_, side, f)| (*side, spread(f))).collect();
        let place = |name: &str| NEIGHBOURS.iter().position(|side| side.name == name);
        found.sort_by_key(|(side, _)| place(side));
        found
    }

    pub fn print(&self) {
        for (_, title, unit, rows) in TABLES {
            let rows: Vec<_> = rows.iter().filter(|row| !self.of(row).is_empty()).collect();
            if rows.is_empty() {
                continue;
            }
            println!("\n{title}, {unit}: median (least-most)\n");
            print!("| side |");
            rows.iter().for_each(|row| print!(" `{row}` |"));
            println!("\n| --- |{}", " --- |".repeat(rows.len()));
            for side in NEIGHBOURS {
                let cells = rows.iter().map(|row| {
                    let found = self.of(row).into_iter().find(|(name, _)| *name == side.name);
                    let cell = |(_, (median, least, most))| {
                        format!("{} ({}-{})", digits(median), digits(least), digits(most))
                    };
                    found.map_or_else(|| self.none(row, side.name), cell)
                });
                let cells: Vec<_> = cells.collect();
                if cells.iter().any(|cell| cell != "-") {
                    println!("| {} | {} |", side.name, cells.join(" | "));
                }
            }
        }
        let limits = self.figures.iter().filter(|(_, side, _)| *side == "the machine");
        for (number, (row, _, figures)) in limits.enumerate() {
            if number == 0 {
                println!("\n| limit | median (least-most) |\n| --- | --- |");
            }
            let (median, least, most) = spread(figures);
            println!("| {row} | {} ({}-{}) |", digits(median), digits(least), digits(most));
        }
    }

    /// Draws a picture for each table: for each row bars of all sides, a line from least to most.
    pub fn plot(&self, dir: &Path) -> Result<(), Box<dyn Error>> {
        std::fs::create_dir_all(dir)?;
        for (file, title, unit, rows) in TABLES {
            let rows: Vec<_> = rows.iter().map(|row| (*row, self.of(row))).collect();
            let rows: Vec<_> = rows.into_iter().filter(|(_, sides)| !sides.is_empty()).collect();
            if rows.is_empty() {
                continue;
            }
            let path = dir.join(format!("{file}.svg"));
            let height =
                60 + rows.iter().map(|(_, sides)| 46 + 20 * sides.len() as u32).sum::<u32>();
            let root = SVGBackend::new(&path, (860, height)).into_drawing_area();
            root.fill(&WHITE)?;
            let root = root.titled(&format!("{title}, {unit}"), ("sans-serif", 20))?;
            let mut rest = root;
            for (row, sides) in rows {
                let (top, below) = rest.split_vertically(46 + 20 * sides.len() as u32);
                bars(&top, row, &sides)?;
                rest = below;
            }
            rest.present()?;
        }
        Ok(())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Bar = (&'static str, (f64, f64, f64));

fn bars(area: &Area<'_>, row: &str, sides: &[Bar]) -> Result<(), Box<dyn Error>> {
    let most = sides.iter().map(|(_, (_, _, most))| *most).fold(0.0, f64::max);
    let text = |size: u32| ("sans-serif", size).into_font();
    area.draw(&Text::new(row.to_owned(), (20, 4), text(16)))?;
    for (number, (side, (median, least, largest))) in (0..).zip(sides) {
        let y = 26 + 20 * number;
        let x = |figure: f64| 180 + (figure / most * 560.0) as i32;
        let color = if *side == "tidelog" { RGBColor(0, 92, 175) } else { RGBColor(150, 160, 170) };
        area.draw(&Text::new((*side).to_owned(), (20, y + 1), text(13)))?;
        area.draw(&Rectangle::new([(180, y), (x(*median), y + 14)], color.filled()))?;
        area.draw(&PathElement::new([(x(*least), y + 7), (x(*largest), y + 7)], BLACK))?;
        area.draw(&Text::new(digits(*median), (x(*largest) + 6, y + 1), text(13)))?;
    }
    Ok(())
}

pub fn print_promises() {
    println!("\n| side | checked when read | a plain append survives | a synced append |");
    println!("| --- | --- | --- | --- |");
    for side in NEIGHBOURS {
        println!("| {} | {} | {} | {} |", side.name, side.checks, side.plain, side.synced);
    }
}
