"""The site's addresses. Each is in the access matrix (tests/access), or a test fails."""

from allauth.account import views as account
from django.urls import include, path

from core.views import health, people, preferences, you

urlpatterns = [
    path("sign-in/", account.login, name="account_login"),
    path("sign-out/", account.logout, name="account_logout"),
    path("password/", account.password_change, name="account_change_password"),
    path("theme/", preferences.theme, name="theme"),
    path("you/", you.you, name="you"),
    path("you/sessions/<int:session_id>/end/", you.end_session, name="session_end"),
    path("you/sessions/end-others/", you.end_others, name="sessions_end_others"),
    path("people/", people.people, name="people"),
    path("people/users/", people.user_create, name="user_create"),
    path("people/users/<int:user_id>/deactivate/", people.user_deactivate, name="user_deactivate"),
    path("people/teams/", people.team_create, name="team_create"),
    path("people/teams/<int:team_id>/members/", people.team_add_member, name="team_add_member"),
    path(
        "people/teams/<int:team_id>/members/<int:membership_id>/remove/",
        people.team_remove_member,
        name="team_remove_member",
    ),
    path("health/live/", health.live, name="health_live"),
    path("health/ready/", health.ready, name="health_ready"),
    path("", include("rag.urls")),
]
handler400 = "core.views.errors.bad_request"
handler403 = "core.views.errors.forbidden"
handler404 = "core.views.errors.not_found"
handler500 = "core.views.errors.server_error"
