"""What an administrator runs: activation, migrations, SQL views and roles."""
