//! Scripts: how they are read and played, what each behaviour of the cast does when it is alone, and mistakes.

mod cast;
mod played;
mod reading;
