"""Django: tasks in one of the processes that serve, and a command that shows who leads.

# settings.py
INSTALLED_APPS = [..., "leaderlock.integrations.django"]
LEADERLOCK = {"polls.tasks.report": {"lease": 180}}    # a function of one argument, the Leadership
"""
