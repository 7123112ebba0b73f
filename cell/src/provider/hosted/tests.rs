use super::*;
use crate::provider::sim::Sim;

fn spec(id: &str) -> MachineSpec {
    MachineSpec { id: id.into(), token: "secret".into(), millicpu: 100, memory: 1 << 20 }
}

#[tokio::test]
async fn a_provider_behind_a_socket_is_the_same_provider() {
    let (host, jobs) = base::real::host();
    let folder = tempfile::tempdir().unwrap();
    let at = format!("unix:{}", folder.path().join("machines.sock").display());
    let serving = host.net.serve(&at, router(&host, Arc::new(Sim::default()), 2));
    host.spawn("machines", async move { serving.await.unwrap() });
    let hosted = Hosted::new(host.clone(), at);
    while hosted.list().await.is_err() {
        host.clock.sleep(Duration::from_millis(5)).await;
    }
    hosted.create(spec("a")).await.unwrap();
    hosted.create(spec("a")).await.unwrap();
    hosted.create(spec("b")).await.unwrap();
    let full = hosted.create(spec("c")).await.unwrap_err();
    assert!(matches!(&full, ProviderError::Exhausted(why) if why.contains("all 2 machines")), "{full}");
    assert_eq!(hosted.list().await.unwrap().len(), 2);
    hosted.delete("a").await.unwrap();
    hosted.delete("a").await.unwrap();
    assert_eq!(hosted.list().await.unwrap().into_keys().collect::<Vec<_>>(), ["b"]);
    hosted.create(spec("c")).await.unwrap();
    let nobody = Hosted::new(host.clone(), "unix:/nonexistent/socket".into());
    assert!(matches!(nobody.list().await, Err(ProviderError::Failed(_))));
    drop(jobs.shutdown(Duration::from_secs(5)).await);
}
