"""The SDK of the partner-signal exchange: what a member or an auditor installs."""
