"""Django: tasks that run in one of the serving processes, and a command that shows the leader.

# settings.py
INSTALLED_APPS = [..., "leaderlock.integrations.django"]
LEADERLOCK = {"polls.tasks.report": {"lease": 180}}    # a function of one argument, the Leadership
"""
