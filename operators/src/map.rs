//! Stateless operators over the user's own values: map, filter, flat_map, inspect.

use crate::batch::Rows;
use crate::error::Result;
use crate::operator::Operator;
use crate::output::Output;

/// One row in, one row out.
#[derive(Debug, Clone)]
pub struct Map<F>(pub F);

impl<T: Send + 'static, U: Send + 'static, F: FnMut(T) -> U + Send> Operator<Rows<T>, Rows<U>> for Map<F> {
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<U>>) -> Result<()> {
        let room = output.room();
        if output.is_empty() && input.len() <= room {
            output.emit(std::mem::take(input).map_all(&mut self.0));
        } else {
            output.builder().extend(input.by_ref().take(room).map(&mut self.0));
        }
        Ok(())
    }
}

/// Keeps the rows for which the predicate is true.
#[derive(Debug, Clone)]
pub struct Filter<F>(pub F);

impl<T: Send + 'static, F: FnMut(&T) -> bool + Send> Operator<Rows<T>, Rows<T>> for Filter<F> {
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<T>>) -> Result<()> {
        if output.is_empty() && input.len() <= output.room() {
            output.emit(std::mem::take(input).filter_all(&mut self.0));
            return Ok(());
        }
        while !output.is_full() {
            let room = output.room();
            if input.len() == 0 {
                break;
            }
            output.builder().extend(input.by_ref().take(room).filter(&mut self.0));
        }
        Ok(())
    }
}

/// One row in, any number of rows out; a refusal is honoured between input rows.
#[derive(Debug, Clone)]
pub struct FlatMap<F>(pub F);

impl<T, U, R, F> Operator<Rows<T>, Rows<U>> for FlatMap<F>
where
    T: Send + 'static,
    U: Send + 'static,
    R: IntoIterator<Item = U>,
    F: FnMut(T) -> R + Send,
{
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<U>>) -> Result<()> {
        while !output.is_full() {
            let Some(row) = input.next() else { break };
            output.builder().extend((self.0)(row));
        }
        Ok(())
    }
}

/// Looks at each row and passes it on.
#[derive(Debug, Clone)]
pub struct Inspect<F>(pub F);

impl<T: Send + 'static, F: FnMut(&T) + Send> Operator<Rows<T>, Rows<T>> for Inspect<F> {
    fn process(&mut self, input: &mut Rows<T>, output: &mut Output<Rows<T>>) -> Result<()> {
        let room = output.room();
        if output.is_empty() && input.len() <= room {
            input.as_slice().iter().for_each(&mut self.0);
            output.emit(std::mem::take(input));
        } else {
            output.builder().extend(input.by_ref().take(room).inspect(&mut self.0));
        }
        Ok(())
    }
}
