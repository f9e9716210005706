//! The schema and its versions. A store of version `v` is brought up to date by the steps from `v` on, each one
//! transaction; the version is the `user_version` of SQLite.

use rusqlite::{Connection, TransactionBehavior};

use crate::open::OpenError;

/// One step: what turns a store of version `i` into version `i + 1`, for the `i`-th.
pub(crate) type Steps = &'static [&'static str];

/// Every step so far. A step that was ever released is never changed.
pub(crate) const STEPS: Steps = &[
    // 0 → 1: one table of rows. Keys compare as bytes, which is what a scan needs.
    "CREATE TABLE rows (
         tbl   INTEGER NOT NULL,
         key   BLOB NOT NULL,
         value BLOB NOT NULL,
         PRIMARY KEY (tbl, key)
     ) STRICT, WITHOUT ROWID",
];

/// The version of a store; 0 is a store in which nothing was ever made.
pub(crate) fn version(connection: &Connection) -> Result<usize, OpenError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    usize::try_from(version).map_err(|_| OpenError::Unreadable)
}

/// Brings a store up to date.
///
/// # Errors
/// [`OpenError::TooNew`] if its version is past the last step; then nothing was written.
pub(crate) fn migrate(connection: &mut Connection, steps: Steps) -> Result<(), OpenError> {
    let from = version(connection)?;
    let pending = steps.get(from..).ok_or(OpenError::TooNew)?;
    for (step, to) in pending.iter().zip(from + 1..) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", i64::try_from(to).map_err(|_| OpenError::TooNew)?)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

    use super::*;

    /// A made-up past: the first version kept text, the second split it off into rows of bytes, the third counts them.
    const PAST: Steps = &[
        "CREATE TABLE old (name TEXT PRIMARY KEY, body TEXT); INSERT INTO old VALUES ('a', 'x'), ('b', 'yy')",
        "CREATE TABLE new (name BLOB PRIMARY KEY, body BLOB);
         INSERT INTO new SELECT CAST(name AS BLOB), CAST(body AS BLOB) FROM old; DROP TABLE old",
        "CREATE TABLE counts AS SELECT count(*) AS n FROM new",
    ];

    fn count(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn every_older_version_reaches_the_newest_with_its_rows() {
        for from in 0..=PAST.len() {
            let mut connection = Connection::open_in_memory().unwrap();
            migrate(&mut connection, &PAST[..from]).unwrap();
            assert_eq!(version(&connection).unwrap(), from);

            migrate(&mut connection, PAST).unwrap();

            assert_eq!(version(&connection).unwrap(), PAST.len(), "from {from}");
            assert_eq!(count(&connection, "SELECT n FROM counts"), 2, "from {from}");
            assert_eq!(count(&connection, "SELECT count(*) FROM new WHERE name = x'62' AND body = x'7979'"), 1);
        }
    }

    #[test]
    fn a_failed_step_leaves_the_version_before_it_whole() {
        const BROKEN: Steps = &[PAST[0], "DROP TABLE old; CREATE TABLE new (nonsense nonsense nonsense, FOREIGN)"];
        let mut connection = Connection::open_in_memory().unwrap();

        assert!(migrate(&mut connection, BROKEN).is_err());

        assert_eq!(version(&connection).unwrap(), 1);
        assert_eq!(count(&connection, "SELECT count(*) FROM old"), 2);
        migrate(&mut connection, PAST).unwrap();
        assert_eq!(count(&connection, "SELECT n FROM counts"), 2);
    }

    #[test]
    fn a_newer_version_is_refused_and_not_written() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, PAST).unwrap();

        assert_eq!(migrate(&mut connection, &PAST[..2]), Err(OpenError::TooNew));

        assert_eq!(version(&connection).unwrap(), 3);
    }

    #[test]
    fn the_first_version_keeps_one_table_of_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, STEPS).unwrap();
        assert_eq!(version(&connection).unwrap(), 1);
        assert!(connection.execute("INSERT INTO rows VALUES (1, x'00', 'text')", []).is_err(), "values are bytes");
        assert!(connection.execute("INSERT INTO rows VALUES (1, x'00', x'')", []).is_ok());
    }
}
