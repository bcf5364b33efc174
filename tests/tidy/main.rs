//! The rules of the house, held by tests: each rule is one test whose name says it, and each finding is a line
//! `file:line: what is wrong; what to do`.
//!
//! Only what compiler and clippy cannot hold is here. Rules are made stricter over time, never looser; an
//! exception is named in the rule, with its reason.

mod documents;
mod examples;
mod layers;
mod sizes;
mod tree;
mod words;
