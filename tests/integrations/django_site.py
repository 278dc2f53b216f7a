"""The settings of a Django site for the tests, with its URLs and its tasks."""

from __future__ import annotations

import os

from django.apps import apps
from django.http import HttpRequest, HttpResponse
from django.urls import path

from leaderlock import Leadership
from tests.integrations import served

ALLOWED_HOSTS = ["*"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DEBUG = True
INSTALLED_APPS = ["leaderlock.integrations.django", "django.contrib.contenttypes"]
LEADERLOCK = {
    "tests.integrations.django_site.report": {"name": "example", "backoff": (0.05, 0.2)},
    "tests.integrations.django_site.other": {"name": "other"},
}
ROOT_URLCONF = "tests.integrations.django_site"
SECRET_KEY = "of the tests"


def report(leadership: Leadership) -> None:
    assert apps.ready
    served.lead(leadership)


def other(_leadership: Leadership) -> None:
    return


def do_and_return(leadership: Leadership) -> None:
    served.note("start", leadership.term)


def view(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(os.getpid()))


urlpatterns = [path("", view)]
