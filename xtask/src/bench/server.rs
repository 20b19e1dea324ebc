//! A program that measures when it is asked to, over its standard input and output.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::BoxError;

/// A running program that answers every line with a number. It ends, and is waited for, with this.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// None once it is to end.
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

    /// The answer to one line. What it prints to its error output is seen on the terminal.
    pub(crate) fn ask(&mut self, question: &str) -> Result<f64, BoxError> {
        // One that has ended takes no question either: that it gives no answer says as much.
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
        // How it ends is of no interest any more.
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
