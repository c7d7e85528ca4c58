//! Whether the statements of a transaction are planned for their values. Look-ups by keys, tokens and references have one plan, which the connection
//! keeps: planning them anew takes longer than doing them. What asks for ranges, or chooses between ways, has to be planned for its values.

use sqlx::PgConnection;

/// How the transaction on a connection plans from now on. It begins with plans that are kept.
#[derive(Debug, Default)]
pub(crate) struct Planning {
    by_values: bool,
}

impl Planning {
    /// From now on each statement is planned for its values, to the end of the transaction.
    pub async fn by_values(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        if !self.by_values {
            sqlx::query("SET LOCAL plan_cache_mode = force_custom_plan")
                .execute(connection)
                .await?;
            self.by_values = true;
        }
        Ok(())
    }
}
