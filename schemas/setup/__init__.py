"""Setting up the database: activation, migrations, SQL views, roles and accounts."""
