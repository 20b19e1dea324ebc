//! A program that measures on request, over its standard input and output.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::BoxError;

/// A running program that answers every line with a number. Dropping it ends the program and waits for it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Standard input; `None` while the program ends.
    questions: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Result<Self, BoxError> {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("{command:?} does not start: {error}"))?;
        let questions = child.stdin.take();
        let answers = child.stdout.take().ok_or("a program has no output")?;
        Ok(Server { child, questions, answers: BufReader::new(answers).lines() })
    }

    /// Returns the answer to one line. Error output goes to the terminal.
    pub(crate) fn ask(&mut self, question: &str) -> Result<f64, BoxError> {
        // A program that has ended fails to answer, which is reported below.
        if let Some(questions) = &mut self.questions {
            let _ = writeln!(questions, "{question}");
        }
        let answer = self.answers.next().ok_or_else(|| format!("no answer to `{question}`"))??;
        answer.parse().map_err(|_| format!("the answer to `{question}` is no number: {answer}").into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.questions = None;
        // The exit status does not matter.
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(script: &str) -> Result<Vec<f64>, String> {
        let mut server = Server::start(Command::new("sh").args(["-c", script])).unwrap();
        let answers = ["2", "5"].map(|question| server.ask(question).map_err(|error| error.to_string()));
        answers.into_iter().collect()
    }

    #[test]
    fn every_line_has_an_answer() {
        assert_eq!(ask("while read n; do echo $n.5; done"), Ok(vec![2.5, 5.5]));
        assert_eq!(ask("read n; echo 1"), Err("no answer to `5`".into()));
        let error = "the answer to `2` is no number: not 2";
        assert_eq!(ask("read n; echo not $n"), Err(error.into()));
    }
}
