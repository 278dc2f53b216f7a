"""The settings of a Django site whose app starts a candidate in `ready`, in every process."""

from __future__ import annotations

from django.apps import AppConfig
from django.http import HttpRequest, HttpResponse
from django.urls import path


class PlacedConfig(AppConfig):  # type: ignore[misc]  # Django has no types of its own
    name = "tests.integrations"
    label = "placed"

    def ready(self) -> None:
        from tests.integrations import placed_site  # noqa: F401  (which starts it)


def view(_request: HttpRequest) -> HttpResponse:
    from tests.integrations.placed_site import state

    return HttpResponse(state())


ALLOWED_HOSTS = ["*"]
DEBUG = True
INSTALLED_APPS = ["tests.integrations.placed_django.PlacedConfig"]
ROOT_URLCONF = "tests.integrations.placed_django"
SECRET_KEY = "of the tests"
urlpatterns = [path("", view)]
