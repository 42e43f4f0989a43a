"""The one way to pgBackRest: argument lists, exit codes and ``info`` as models."""
