"""A whole Django site; one of those that serve it reports. Set DJANGO_SETTINGS_MODULE=django_settings.

django-admin runserver, or gunicorn -w 4 'django.core.wsgi:get_wsgi_application()'.
"""

import os

from leaderlock import Leadership

ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["leaderlock.integrations.django"]
LEADERLOCK = {"django_settings.report": {"name": "example"}}
ROOT_URLCONF = "django_settings"
SECRET_KEY = "of the example"
urlpatterns: list[object] = []


def report(leadership: Leadership) -> None:
    for _ in leadership.every(1):
        print(f"process {os.getpid()} leads, term {leadership.term}", flush=True)
