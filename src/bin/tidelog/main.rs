//! `tidelog`: the command line over a store's directory. It parses and prints; all it knows of
//! files it asks of the library.
//!
//! Results go to standard output, whatever went wrong to standard error. Exit codes: 0 for done,
//! 1 for an operation that failed, 2 for wrong use, 3 where data is damaged. A reader of the output
//! that goes away ends the program quietly.
#![deny(unsafe_code)]

mod config;
mod consume;
mod decode;
mod dump;
mod failure;
mod groups;
mod json;
mod open;
mod produce;
mod redrive;
mod schemas;
mod stopped;
mod table;
mod topics;
mod txns;
mod upkeep;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use failure::Failure;

/// Kafka's log format in a directory: looking into it and operating it.
#[derive(Debug, Parser)]
#[command(name = "tidelog", version, after_help = EXIT_CODES)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 it failed, 2 wrong use, 3 data is damaged.";

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what lies in the files of a root, a partition or one segment; changes nothing
    Dump(dump::Arguments),
    /// Open a partition or a root for writing, recovering it, close it, and show what it holds then
    Open(open::Arguments),
    /// List the topics of a store
    Topics(topics::List),
    /// Create a topic, and the store where there is none
    Create(topics::Create),
    /// Change a topic's settings, or give it more partitions
    Alter(topics::Alter),
    /// Delete a topic with its records
    Delete(topics::Delete),
    /// Show or change the settings of a topic
    #[command(subcommand)]
    Config(config::Action),
    /// Append the lines of standard input to a topic
    Produce(produce::Arguments),
    /// Print the records of a topic
    Consume(consume::Arguments),
    /// List consumer groups, show them, move or delete what they committed
    #[command(subcommand)]
    Groups(groups::Action),
    /// Send the records of a dead-letter topic back
    Redrive(redrive::Arguments),
    /// List transactions, show them, abort what nobody ends
    #[command(subcommand)]
    Txns(txns::Action),
    /// Show the sizes and offsets of a store
    Stats(upkeep::StatsArguments),
    /// Make a consistent copy of a store
    Backup(upkeep::BackupArguments),
    /// Mend what a verification finds, or show what would be done
    Repair(upkeep::RepairArguments),
    /// Read everything and say what is wrong
    Verify(verify::Arguments),
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete in
        shell: clap_complete::Shell,
    },
}

fn run(action: Action) -> Result<(), Failure> {
    match action {
        Action::Dump(arguments) => dump::run(&arguments),
        Action::Open(arguments) => open::run(&arguments),
        Action::Topics(arguments) => topics::run_list(&arguments),
        Action::Create(arguments) => topics::run_create(&arguments),
        Action::Alter(arguments) => topics::run_alter(&arguments),
        Action::Delete(arguments) => topics::run_delete(&arguments),
        Action::Config(action) => config::run(&action),
        Action::Groups(action) => groups::run(&action),
        Action::Redrive(arguments) => redrive::run(&arguments),
        Action::Txns(action) => txns::run(&action),
        Action::Stats(arguments) => upkeep::run_stats(&arguments),
        Action::Backup(arguments) => upkeep::run_backup(&arguments),
        Action::Repair(arguments) => upkeep::run_repair(&arguments),
        Action::Produce(arguments) => produce::run(&arguments),
        Action::Consume(arguments) => consume::run(&arguments),
        Action::Verify(arguments) => verify::run(&arguments),
        Action::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Command::command(), "tidelog", &mut script);
            json::print(&script)
        }
    }
}

fn main() -> ExitCode {
    match run(Command::parse().action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
