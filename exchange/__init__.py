"""The hub and the custodian of the partner-signal exchange.

Imports flow one way: the SDK's pure modules ◄ domain ◄ storage, usecases ◄ server ◄ custodian ◄ demo ◄ cli.
"""
