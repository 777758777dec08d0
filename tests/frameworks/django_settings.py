"""Settings of the Django shop; with daphne, ``runserver`` serves ASGI."""

SECRET_KEY = "of the tests"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["daphne"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "tests.frameworks.django_shop"
ASGI_APPLICATION = "tests.frameworks.django_shop.app"
