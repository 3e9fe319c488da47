//! Shapes of messages, and the walk that holds bytes against them before `kafka-protocol` decodes them.
//!
//! The tables stand where the messages are read: a client's in `wire`, the embedded broker's in `broker`.

mod walk;

pub(crate) use walk::{Misshapen, check, check_within, header_length, tags_length};

pub(crate) enum Shape {
    Fixed(usize),
    Text,
    Bytes,
    Structure(&'static [Field]),
    List(&'static Shape),
    Structures(&'static [Field], &'static [(u64, Shape)]),
}

pub(crate) struct Field {
    pub(crate) shape: Shape,
    first: i16,
    last: i16,
}

impl Field {
    pub(crate) const fn new(shape: Shape) -> Self {
        Self { shape, first: 0, last: i16::MAX }
    }

    pub(crate) const fn since(self, first: i16) -> Self {
        Self { shape: self.shape, first, last: self.last }
    }

    pub(crate) const fn until(self, last: i16) -> Self {
        Self { shape: self.shape, first: self.first, last }
    }

    pub(crate) fn is_in(&self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }
}

/// The message of one API in the versions from `first` to `last`; from `flexible` on it has tagged fields (KIP-482).
pub(crate) struct Table {
    pub(crate) key: i16,
    pub(crate) first: i16,
    pub(crate) last: i16,
    pub(crate) flexible: i16,
    pub(crate) fields: &'static [Field],
    pub(crate) tags: &'static [(u64, Shape)],
}

// A `const` with this type may not be moved out of twice, so the scalars are functions.
pub(crate) const fn i8() -> Field {
    Field::new(Shape::Fixed(1))
}
pub(crate) const fn i16() -> Field {
    Field::new(Shape::Fixed(2))
}
pub(crate) const fn i32() -> Field {
    Field::new(Shape::Fixed(4))
}
pub(crate) const fn i64() -> Field {
    Field::new(Shape::Fixed(8))
}
pub(crate) const fn uuid() -> Field {
    Field::new(Shape::Fixed(16))
}
pub(crate) const fn text() -> Field {
    Field::new(Shape::Text)
}
pub(crate) const fn bytes() -> Field {
    Field::new(Shape::Bytes)
}
pub(crate) const fn i32s() -> Field {
    Field::new(Shape::List(&Shape::Fixed(4)))
}
pub(crate) const fn list(fields: &'static [Field]) -> Field {
    Field::new(Shape::Structures(fields, &[]))
}
pub(crate) const fn tagged_list(fields: &'static [Field], tags: &'static [(u64, Shape)]) -> Field {
    Field::new(Shape::Structures(fields, tags))
}
